//! The device a job computes on, and how CUDA comes in where it is there. Knows no stage.

use std::path::PathBuf;

use spec::job::Device as Wanted;
use tch::{Cuda, Device};

use crate::error::{Error, Result};

/// Opens `libtorch_cuda.so` where it stands beside `libtorch_cpu.so`: nothing in a linked program pulls it in. Without
/// it there is the CPU alone.
#[cfg(target_os = "linux")]
pub fn open_cuda() {
    let Some(library) = libtorch_folder().map(|folder| folder.join("libtorch_cuda.so")).filter(|path| path.exists())
    else {
        return;
    };
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    #[expect(unsafe_code, reason = "opening a library runs its initialisers")]
    // SAFETY: it is the library of the libtorch that this program is linked to, made to be loaded in just this way.
    match unsafe { Library::open(Some(&library), RTLD_NOW | RTLD_GLOBAL) } {
        Ok(library) => std::mem::forget(library),
        Err(error) => tracing::warn!("CUDA cannot be used: {}: {error}", library.display()),
    }
}

/// Elsewhere there is no CUDA.
#[cfg(not(target_os = "linux"))]
pub fn open_cuda() {}

/// The folder of the `libtorch_cpu.so` that is in use.
#[cfg(target_os = "linux")]
fn libtorch_folder() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("/libtorch_cpu.so"))?;
    let path = PathBuf::from(line.get(line.find('/')?..)?);
    path.parent().map(PathBuf::from)
}

/// What this program computes with, a line each: for `engine doctor`.
pub fn describe() -> String {
    let devices = if Cuda::is_available() { Cuda::device_count() } else { 0 };
    format!("libtorch {}\nCUDA devices: {devices}\n", env!("LIBTORCH_VERSION"))
}

/// The device that a job wants.
pub fn choose(wanted: Wanted) -> Result<Device> {
    match wanted {
        Wanted::Cpu => Ok(Device::Cpu),
        Wanted::Auto => Ok(Device::cuda_if_available()),
        Wanted::Cuda(number) => {
            let count = if Cuda::is_available() { usize::try_from(Cuda::device_count()).unwrap_or(0) } else { 0 };
            if number < count {
                return Ok(Device::Cuda(number));
            }
            let has = match count {
                0 => "no CUDA device can be used here".to_owned(),
                _ => format!("there are {count} CUDA devices, numbered from 0"),
            };
            Err(Error::setting("device", format!("`cuda:{number}`: {has}"), "use `--device auto` or `--device cpu`"))
        }
    }
}

/// The device's name for people.
pub fn name(device: Device) -> String {
    match device {
        Device::Cuda(number) => format!("cuda:{number}"),
        _ => "cpu".to_owned(),
    }
}
