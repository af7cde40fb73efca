//! Buffers between two inaccessible pages: to read or write one element too far is a fault that ends the process.

use std::ops::{Deref, DerefMut};

/// Where a buffer lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// In ordinary memory.
    Anywhere,
    /// Its last element is followed by an inaccessible page (if the system has such).
    EndsAtPage,
    /// Its first element follows an inaccessible page (if the system has such).
    BeginsAtPage,
}

/// The places with an inaccessible page.
pub const GUARDED: [Place; 2] = [Place::EndsAtPage, Place::BeginsAtPage];

/// A slice in a chosen place, as long as it is and no longer.
pub enum Buffer<T: Copy> {
    Anywhere(Vec<T>),
    #[cfg(unix)]
    Guarded(map::Guarded<T>),
}

impl<T: Copy> Buffer<T> {
    /// A copy of `values` in that place.
    pub fn new(values: &[T], place: Place) -> Buffer<T> {
        match place {
            #[cfg(unix)]
            Place::EndsAtPage => Buffer::Guarded(map::Guarded::new(values, true)),
            #[cfg(unix)]
            Place::BeginsAtPage => Buffer::Guarded(map::Guarded::new(values, false)),
            _ => Buffer::Anywhere(values.to_vec()),
        }
    }
}

impl<T: Copy> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Buffer::Anywhere(values) => values,
            #[cfg(unix)]
            Buffer::Guarded(values) => values.as_slice(),
        }
    }
}

impl<T: Copy> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Buffer::Anywhere(values) => values,
            #[cfg(unix)]
            Buffer::Guarded(values) => values.as_mut_slice(),
        }
    }
}

#[cfg(unix)]
mod map {
    use std::ptr;

    pub struct Guarded<T> {
        map: *mut u8,
        map_bytes: usize,
        values: *mut T,
        len: usize,
    }

    // SAFETY: it owns its memory, as a vector does.
    unsafe impl<T: Send> Send for Guarded<T> {}
    // SAFETY: as above.
    unsafe impl<T: Sync> Sync for Guarded<T> {}

    impl<T: Copy> Guarded<T> {
        pub fn new(values: &[T], at_end: bool) -> Guarded<T> {
            let bytes = size_of_val(values);
            // SAFETY: an inaccessible map of fresh pages, of which all but the first and the last are then opened;
            // `values` is copied to pages of at least its size, at an address that is a multiple of the size of T
            // away from the border of a page.
            unsafe {
                let page = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)).unwrap();
                let open = bytes.next_multiple_of(page).max(page);
                let map_bytes = open + 2 * page;
                let (flags, closed) = (libc::MAP_PRIVATE | libc::MAP_ANON, libc::PROT_NONE);
                let map = libc::mmap(ptr::null_mut(), map_bytes, closed, flags, -1, 0);
                assert_ne!(map, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
                let map = map.cast::<u8>();
                let opened = libc::mprotect(map.add(page).cast(), open, libc::PROT_READ | libc::PROT_WRITE);
                assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
                let at = page + if at_end { open - bytes } else { 0 };
                let copy = map.add(at).cast::<T>();
                ptr::copy_nonoverlapping(values.as_ptr(), copy, values.len());
                Guarded { map, map_bytes, values: copy, len: values.len() }
            }
        }

        pub fn as_slice(&self) -> &[T] {
            // SAFETY: `new` filled them, and nothing else points there.
            unsafe { std::slice::from_raw_parts(self.values, self.len) }
        }

        pub fn as_mut_slice(&mut self) -> &mut [T] {
            // SAFETY: as above.
            unsafe { std::slice::from_raw_parts_mut(self.values, self.len) }
        }
    }

    impl<T> Drop for Guarded<T> {
        fn drop(&mut self) {
            // SAFETY: the map that `new` made; nothing borrows from it any more.
            unsafe { libc::munmap(self.map.cast(), self.map_bytes) };
        }
    }
}
