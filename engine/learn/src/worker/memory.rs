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
