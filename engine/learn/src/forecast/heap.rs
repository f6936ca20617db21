//! What a process holds of memory that it asked for and gave back: the C library keeps holes between blocks that are
//! still in use. The blocks of a pass are asked of that very allocator, in libtorch's way, and never written to, so that
//! they cost addresses alone. Knows sizes; no tensor.

use std::alloc::{Layout, alloc, dealloc};

/// libtorch's alignment.
const ALIGNMENT: usize = 64;
/// Blocks of at least so many bytes are looked at; smaller ones are lost among the small objects of a program.
const LEAST: u64 = 1024;

/// The heap of this process since some moment.
#[derive(Debug)]
pub struct Heap {
    end: fn() -> Option<usize>,
    before: usize,
    mapped: u64,
}

/// A block.
#[derive(Debug)]
pub struct Block {
    address: *mut u8,
    layout: Layout,
    /// Whether it is outside the heap, mapped by itself.
    mapped: bool,
}

impl Heap {
    /// The heap from now on; nothing where the system does not tell where it ends.
    pub fn new() -> Option<Self> {
        Some(Self { end: heap_end, before: heap_end()?, mapped: 0 })
    }

    /// Bytes that the process holds more than at the beginning.
    pub fn held(&self) -> u64 {
        let end = (self.end)().unwrap_or(self.before);
        end.saturating_sub(self.before) as u64 + self.mapped
    }

    /// Takes a block.
    pub fn take(&mut self, bytes: u64) -> Option<Block> {
        if bytes < LEAST {
            return None;
        }
        let layout = Layout::from_size_align(usize::try_from(bytes).ok()?, ALIGNMENT).ok()?;
        #[expect(unsafe_code, reason = "a block is asked of the allocator")]
        // SAFETY: the layout has a size above zero. A null pointer is kept as one and never used.
        let address = std::hint::black_box(unsafe { alloc(layout) });
        let mapped = address.is_null() || (self.end)().is_none_or(|end| address as usize >= end);
        if mapped {
            self.mapped += bytes;
        }
        Some(Block { address, layout, mapped })
    }

    /// Gives a block back.
    pub fn give(&mut self, block: Block) {
        if block.mapped {
            self.mapped -= block.layout.size() as u64;
        }
        if !block.address.is_null() {
            #[expect(unsafe_code, reason = "a block is given back to the allocator")]
            // SAFETY: `take` got this address for this layout, and a block is given back once.
            unsafe {
                dealloc(block.address, block.layout);
            }
        }
    }
}

/// Where the heap ends that the C library's allocator grows; blocks that are mapped by themselves are behind it.
#[cfg(target_os = "linux")]
fn heap_end() -> Option<usize> {
    use std::sync::OnceLock;
    type Sbrk = unsafe extern "C" fn(isize) -> usize;
    static SBRK: OnceLock<Option<Sbrk>> = OnceLock::new();
    let sbrk = SBRK.get_or_init(|| {
        let program = libloading::os::unix::Library::this();
        #[expect(unsafe_code, reason = "the C library's function is reached by its name")]
        // SAFETY: the symbol is `void *sbrk(intptr_t)`; the C library stays loaded.
        let found = unsafe { program.get::<Sbrk>(b"sbrk\0") };
        found.ok().map(|found| *found)
    });
    let sbrk = (*sbrk)?;
    #[expect(unsafe_code, reason = "a function of the C library")]
    // SAFETY: with zero it changes nothing and returns the heap's end.
    let end = unsafe { sbrk(0) };
    Some(end)
}

#[cfg(not(target_os = "linux"))]
fn heap_end() -> Option<usize> {
    None
}
