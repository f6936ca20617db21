//! How much memory a piece of work needed at most: resident memory of this process, or memory of the CUDA device. Knows
//! no stage.

use std::fs;

use tch::Device;

/// A measurement that has begun.
#[derive(Debug, Clone, Copy)]
pub struct Peak {
    device: Device,
    before: Option<u64>,
}

impl Peak {
    /// Begins: what is in use now does not count.
    pub fn begin(device: Device) -> Self {
        if device == Device::Cpu {
            // Sets the high-water mark to what is resident now; where that is not permitted, an earlier peak may show.
            let _ = fs::write("/proc/self/clear_refs", "5");
        }
        Self { device, before: used(device, "VmRSS") }
    }

    /// The most bytes in use since, less those in use at the beginning. Unknown where the system does not tell.
    pub fn bytes(&self) -> Option<u64> {
        Some(used(self.device, "VmHWM")?.saturating_sub(self.before?))
    }
}

/// Bytes in use: of this process by the name of a line in its status, or of the device.
fn used(device: Device, line: &str) -> Option<u64> {
    match device {
        Device::Cpu => resident(line),
        _ => cuda_used(),
    }
}

fn resident(line: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// What the current CUDA device has given out. libtorch keeps what it once got, so the end shows the peak.
#[cfg(unix)]
fn cuda_used() -> Option<u64> {
    type MemGetInfo = unsafe extern "C" fn(*mut usize, *mut usize) -> i32;
    let (mut free, mut total) = (0_usize, 0_usize);
    let program = libloading::os::unix::Library::this();
    #[expect(unsafe_code, reason = "the CUDA runtime is reached by the name of its function")]
    // SAFETY: the symbol is `cudaMemGetInfo(size_t*, size_t*)` of the CUDA runtime that libtorch loaded; both pointers
    // are valid while it runs.
    let code = unsafe { program.get::<MemGetInfo>(b"cudaMemGetInfo\0").ok()?(&mut free, &mut total) };
    (code == 0).then_some((total - free) as u64)
}

#[cfg(not(unix))]
fn cuda_used() -> Option<u64> {
    None
}

/// Lets the C library keep memory that is freed. A training frees the same buffers in each step and asks for them in the
/// next; each page that went back to the system in between costs a fault when it comes again. Buffers of 32 MiB and more
/// are mapped by themselves, as ever. Where the environment tells the C library what to do, that holds.
#[cfg(all(unix, target_env = "gnu"))]
pub fn keep_freed() {
    /// `M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD` of `malloc.h`, in bytes.
    const SETTINGS: [(i32, i32); 2] = [(-1, i32::MAX), (-3, 32 << 20)];
    type Mallopt = unsafe extern "C" fn(i32, i32) -> i32;
    let told = ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"];
    if told.iter().any(|variable| std::env::var_os(variable).is_some()) {
        return;
    }
    let program = libloading::os::unix::Library::this();
    for (setting, bytes) in SETTINGS {
        #[expect(unsafe_code, reason = "the C library's function is reached by its name")]
        // SAFETY: the symbol is `mallopt(int, int)` of the C library, which takes any numbers.
        let _ = unsafe { program.get::<Mallopt>(b"mallopt\0").map(|mallopt| mallopt(setting, bytes)) };
    }
}

/// Other C libraries are left as they are.
#[cfg(not(all(unix, target_env = "gnu")))]
pub fn keep_freed() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_large_buffer_shows() {
        let peak = Peak::begin(Device::Cpu);
        let buffer = vec![1_u8; 64 << 20];
        assert!(std::hint::black_box(&buffer).iter().all(|&byte| byte == 1));
        drop(buffer);
        let bytes = peak.bytes().unwrap();
        assert!(bytes > 48 << 20, "{bytes}");
    }
}
