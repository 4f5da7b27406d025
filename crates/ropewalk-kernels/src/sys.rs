//! Hints to the operating system, with a portable fallback that does nothing.
#![allow(
    unsafe_code,
    reason = "madvise and malloc_trim have no safe binding in std"
)]

/// Asks for huge pages behind `len` bytes from `start`; only a hint, never an error.
///
/// Decode streams gigabytes of weights: with 2 MiB pages the address translation no longer costs
/// page walks. Linux honours it where `transparent_hugepage` is `madvise` or `always`.
#[cfg(target_os = "linux")]
pub(crate) fn advise_huge_pages(start: *mut u8, len: usize) {
    const MADV_HUGEPAGE: i32 = 14;
    /// The largest page of common systems; the start of a range must be a multiple of the page.
    const PAGE: usize = 64 << 10;
    unsafe extern "C" {
        fn madvise(addr: *mut core::ffi::c_void, length: usize, advice: i32) -> i32;
    }
    let skip = start.align_offset(PAGE);
    if skip >= len {
        return;
    }
    // SAFETY: the range lies inside one allocation of ours and MADV_HUGEPAGE does not change its
    // content; the result is ignored because the call is only a hint.
    unsafe {
        madvise(
            start.add(skip).cast(),
            (len - skip) / PAGE * PAGE,
            MADV_HUGEPAGE,
        )
    };
}

/// Does nothing: this system has no such hint.
#[cfg(not(target_os = "linux"))]
pub(crate) fn advise_huge_pages(_start: *mut u8, _len: usize) {}

/// Asks the system's allocator to give memory that was freed back to the system.
///
/// Weights of some megabytes lie in the heap of glibc, which keeps what is freed between other
/// blocks; after a model was dropped this call returns it. Nothing happens with other allocators.
pub fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: the function takes any number, locks what it changes and touches free memory
        // alone; whether it found some does not matter.
        unsafe { malloc_trim(0) };
    }
}
