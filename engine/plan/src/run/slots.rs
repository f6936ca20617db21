//! What a machine can do at once: cores, memory, GPUs; and who holds what. Knows numbers, no stage.

use std::{fs, path::Path};

use spec::job::Device;

/// What a run may share out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Processor cores.
    pub cores: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// CUDA devices, each in the word by which `CUDA_VISIBLE_DEVICES` names it.
    pub gpus: Vec<String>,
}

/// What a member takes while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Processor cores.
    pub cores: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// CUDA devices.
    pub gpus: usize,
}

/// What a running member holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Share {
    /// Processor cores.
    pub cores: usize,
    /// Memory in bytes.
    memory: u64,
    /// CUDA devices, as in [`Machine::gpus`].
    pub gpus: Vec<String>,
}

impl Machine {
    /// This machine, of which at most `cores` cores are used, and the CUDA devices that `device` lets a run use.
    pub fn here(cores: Option<usize>, device: Device) -> Self {
        let cores = cores.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into)).max(1);
        let gpus = match device {
            Device::Cpu => Vec::new(),
            Device::Auto => visible_gpus(),
            Device::Cuda(number) => visible_gpus().into_iter().skip(number).take(1).collect(),
        };
        Self { cores, memory: total_memory().unwrap_or(u64::MAX), gpus }
    }

    /// Everything free.
    pub fn slots(&self) -> Slots {
        Slots { cores: self.cores, memory: self.memory, gpus: self.gpus.clone() }
    }
}

/// What is free.
#[derive(Debug, Clone)]
pub struct Slots {
    cores: usize,
    memory: u64,
    gpus: Vec<String>,
}

impl Slots {
    /// Whether not even the smallest member fits.
    pub fn are_full(&self) -> bool {
        self.cores == 0
    }

    /// A share that meets a demand, or nothing while too little is free.
    pub fn take(&mut self, demand: Demand) -> Option<Share> {
        let Demand { cores, memory, gpus } = demand;
        if cores > self.cores || memory > self.memory || gpus > self.gpus.len() {
            return None;
        }
        self.cores -= cores;
        self.memory -= memory;
        Some(Share { cores, memory, gpus: self.gpus.drain(..gpus).collect() })
    }

    /// Takes a share back.
    pub fn give(&mut self, share: Share) {
        self.cores += share.cores;
        self.memory += share.memory;
        self.gpus.extend(share.gpus);
        self.gpus.sort_unstable();
    }
}

/// The CUDA devices that programs started here see: those that `CUDA_VISIBLE_DEVICES` lists, else all of the driver's.
fn visible_gpus() -> Vec<String> {
    let driver = fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, Iterator::count);
    let all = || (0..driver).map(|number| number.to_string()).collect();
    std::env::var("CUDA_VISIBLE_DEVICES").map_or_else(|_| all(), |list| listed(&list, driver))
}

/// What a `CUDA_VISIBLE_DEVICES` lists, of at most so many devices: the list ends where an item names none.
fn listed(list: &str, most: usize) -> Vec<String> {
    let items = list.split(',').map(str::trim).take_while(|item| !item.is_empty() && *item != "-1");
    items.take(most).map(str::to_owned).collect()
}

/// The memory of this machine, or of the control group it gives its programs.
fn total_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let total = line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024;
    let limit = fs::read_to_string(Path::new("/sys/fs/cgroup/memory.max")).ok();
    let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
    Some(limit.map_or(total, |limit| limit.min(total)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_handed_out_while_they_fit_and_come_back() {
        let machine = Machine { cores: 4, memory: 100, gpus: vec!["0".into(), "7".into()] };
        let mut slots = machine.slots();
        let demand = |cores, memory, gpus| Demand { cores, memory, gpus };
        let first = slots.take(demand(2, 60, 1)).unwrap();
        assert_eq!((first.cores, first.gpus.as_slice()), (2, ["0".to_owned()].as_slice()));
        assert_eq!(slots.take(demand(1, 50, 0)), None, "memory");
        assert_eq!(slots.take(demand(3, 10, 0)), None, "cores");
        assert_eq!(slots.take(demand(1, 10, 2)), None, "devices");
        let second = slots.take(demand(2, 40, 1)).unwrap();
        assert_eq!(second.gpus, ["7"]);
        assert!(slots.are_full());
        slots.give(second);
        slots.give(first);
        assert_eq!(slots.clone().take(demand(4, 100, 2)).unwrap().gpus, ["0", "7"]);
    }

    #[test]
    fn a_list_of_devices_ends_where_an_item_names_none() {
        assert_eq!(listed("2,3", 8), ["2", "3"]);
        assert_eq!(listed("GPU-1a, 0,-1,2", 8), ["GPU-1a", "0"]);
        assert_eq!(listed("", 8), [""; 0]);
        assert_eq!(listed("0,1", 1), ["0"]);
    }
}
