//! The device a job computes on and its numbers, and how CUDA comes in where it is there. Knows no stage.

use std::path::{Path, PathBuf};

use spec::job::Device as Wanted;
use spec::precision::{Exact, Number, Precision};
use tch::{Cuda, Device, Kind};

use crate::error::{Error, Result};
use crate::numerics::Numerics;

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

/// Which libtorch is in use and what it can compute on, a line each, for `engine doctor`.
pub fn describe() -> Vec<String> {
    let version = libtorch().unwrap_or_else(|| "of an unknown version".into());
    let place = libtorch_folder().map(|folder| format!(" in {}", folder.display())).unwrap_or_default();
    let count = if Cuda::is_available() { Cuda::device_count() } else { 0 };
    let devices: Vec<String> =
        std::iter::once("cpu".to_owned()).chain((0..count).map(|number| format!("cuda:{number}"))).collect();
    vec![format!("libtorch {version}{place}"), format!("devices {}", devices.join(", "))]
}

/// The version of the libtorch that is in use, as far as it is known.
pub fn libtorch() -> Option<String> {
    libtorch_folder().as_deref().and_then(libtorch_version)
}

/// What libtorch's own folder says: `version.py` of a wheel, `build-version` of the C++ archive.
fn libtorch_version(folder: &Path) -> Option<String> {
    let root = folder.parent()?;
    if let Ok(text) = std::fs::read_to_string(root.join("build-version")) {
        return Some(text.trim().to_owned());
    }
    let text = std::fs::read_to_string(root.join("version.py")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
    Some(line.trim_matches(['\'', '"']).to_owned())
}

/// Elsewhere it is not looked for.
#[cfg(not(target_os = "linux"))]
fn libtorch_folder() -> Option<PathBuf> {
    None
}

/// The folder of the `libtorch_cpu.so` that is in use.
#[cfg(target_os = "linux")]
fn libtorch_folder() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("/libtorch_cpu.so"))?;
    let path = PathBuf::from(line.get(line.find('/')?..)?);
    path.parent().map(PathBuf::from)
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

/// The kinds of numbers of a pipeline file, on a device.
pub fn numerics(precision: Precision, device: Device) -> Numerics {
    let kind = |number: Number| match number {
        Number::Float32 => Kind::Float,
        Number::Bf16 => Kind::BFloat16,
        Number::Fp16 => Kind::Half,
    };
    let Precision { compute, base, trainable: Exact::Float32 } = precision;
    Numerics { compute: kind(compute), base: kind(base), ..Numerics::from(device) }
}

/// The device's name for people.
pub fn name(device: Device) -> String {
    match device {
        Device::Cuda(number) => format!("cuda:{number}"),
        _ => "cpu".to_owned(),
    }
}
