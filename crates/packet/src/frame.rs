//! [`Frame`]: a window over one chunk of packet memory.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A piece of packet memory that belongs to whoever holds the value.
///
/// It is moved from ring to ring and never copied, so an implementation is `Send` and must not be
/// `Clone`. `Box<[u8]>` serves tests and the in-memory port; `af_xdp`'s area makes the chunks that
/// the kernel sees.
pub trait Chunk: AsRef<[u8]> + AsMut<[u8]> + Send + 'static {}

impl Chunk for Box<[u8]> {}

/// A window over a chunk: the bytes that the room at hand is about.
///
/// Offsets are octets from the start of the chunk. Every operation that would leave the chunk, or
/// take more than the window holds, gives `None` and changes nothing.
#[derive(Debug)]
pub struct Frame<C> {
    chunk: C,
    head: u32,
    tail: u32,
}

impl<C: Chunk> Frame<C> {
    /// A window of `len` octets that starts `head` octets into `chunk`; `None` if it does not fit.
    #[inline]
    pub fn new(chunk: C, head: usize, len: usize) -> Option<Self> {
        let tail = head.checked_add(len)?;
        if tail > chunk.as_ref().len() {
            return None;
        }
        Some(Self {
            chunk,
            head: u32::try_from(head).ok()?,
            tail: u32::try_from(tail).ok()?,
        })
    }

    /// Octets in the window.
    #[inline(always)]
    pub fn len(&self) -> usize {
        (self.tail - self.head) as usize
    }

    /// Whether the window is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Octets of the chunk in front of the window.
    #[inline]
    pub fn headroom(&self) -> usize {
        self.head as usize
    }

    /// Octets of the chunk behind the window.
    #[inline]
    pub fn tailroom(&self) -> usize {
        self.chunk.as_ref().len() - self.tail as usize
    }

    /// What the window shows.
    #[inline(always)]
    pub fn bytes(&self) -> &[u8] {
        &self.chunk.as_ref()[self.head as usize..self.tail as usize]
    }

    /// What the window shows, to be changed in place.
    #[inline(always)]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.chunk.as_mut()[self.head as usize..self.tail as usize]
    }

    /// The header at the head of the window, left where it is.
    #[inline(always)]
    pub fn peek<T: FromBytes + KnownLayout + Immutable + Unaligned>(&self) -> Option<&T> {
        T::ref_from_prefix(self.bytes())
            .ok()
            .map(|(header, _)| header)
    }

    /// The header at the head of the window, to be changed in place.
    #[inline]
    pub fn peek_mut<T>(&mut self) -> Option<&mut T>
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned,
    {
        T::mut_from_prefix(self.bytes_mut())
            .ok()
            .map(|(header, _)| header)
    }

    /// The header at the head of the window, even if it goes on behind the window's end, in whatever the
    /// chunk holds there: for who compares the lengths in it with the window's.
    #[inline(always)]
    pub fn peek_chunk<T: FromBytes + KnownLayout + Immutable + Unaligned>(&self) -> Option<&T> {
        let rest = self.chunk.as_ref().get(self.head as usize..)?;
        T::ref_from_prefix(rest).ok().map(|(header, _)| header)
    }

    /// The same, to be changed in place.
    #[inline(always)]
    pub fn peek_chunk_mut<T>(&mut self) -> Option<&mut T>
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned,
    {
        let rest = self.chunk.as_mut().get_mut(self.head as usize..)?;
        T::mut_from_prefix(rest).ok().map(|(header, _)| header)
    }

    /// So many octets from `skip` octets behind the head on, even if they go on behind the window's end,
    /// in whatever the chunk holds there.
    #[inline(always)]
    pub fn reach(&self, skip: usize, len: usize) -> Option<&[u8]> {
        let start = self.head as usize + skip;
        self.chunk.as_ref().get(start..start.checked_add(len)?)
    }

    /// Takes the header at the head off the window.
    #[inline]
    pub fn peel<T: FromBytes + KnownLayout + Immutable + Unaligned + Copy>(&mut self) -> Option<T> {
        let header = *self.peek::<T>()?;
        self.head += size_of::<T>() as u32;
        Some(header)
    }

    /// Takes `count` octets off the head.
    #[inline(always)]
    pub fn skip(&mut self, count: usize) -> Option<()> {
        if count > self.len() {
            return None;
        }
        self.head += count as u32;
        Some(())
    }

    /// Takes `count` octets off the tail.
    #[inline]
    pub fn trim(&mut self, count: usize) -> Option<()> {
        if count > self.len() {
            return None;
        }
        self.tail -= count as u32;
        Some(())
    }

    /// Cuts the window to its first `len` octets.
    #[inline]
    pub fn truncate(&mut self, len: usize) -> Option<()> {
        self.trim(self.len().checked_sub(len)?)
    }

    /// Moves the window to the `len` octets that begin `skip` octets into it.
    #[inline(always)]
    pub fn narrow(&mut self, skip: usize, len: usize) -> Option<()> {
        if skip.checked_add(len)? > self.len() {
            return None;
        }
        self.head += skip as u32;
        self.tail = self.head + len as u32;
        Some(())
    }

    /// Puts a header in front of the window.
    #[inline(always)]
    pub fn prepend<T: IntoBytes + Immutable>(&mut self, header: &T) -> Option<()> {
        self.prepend_bytes(header.as_bytes())
    }

    /// Puts `bytes` in front of the window.
    #[inline(always)]
    pub fn prepend_bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let head = self.headroom().checked_sub(bytes.len())?;
        self.chunk.as_mut()[head..head + bytes.len()].copy_from_slice(bytes);
        self.head = head as u32;
        Some(())
    }

    /// Takes `count` octets of headroom into the window, with whatever they hold.
    #[inline(always)]
    pub fn grow_front(&mut self, count: usize) -> Option<()> {
        self.head = self.headroom().checked_sub(count)? as u32;
        Some(())
    }

    /// Takes `count` octets of tailroom into the window, with whatever they hold.
    #[inline]
    pub fn grow_back(&mut self, count: usize) -> Option<()> {
        if count > self.tailroom() {
            return None;
        }
        self.tail += count as u32;
        Some(())
    }

    /// Replaces the window by a copy of `bytes` that starts `head` octets into the chunk.
    pub fn fill(&mut self, head: usize, bytes: &[u8]) -> Option<()> {
        let tail = head.checked_add(bytes.len())?;
        self.chunk
            .as_mut()
            .get_mut(head..tail)?
            .copy_from_slice(bytes);
        (self.head, self.tail) = (u32::try_from(head).ok()?, u32::try_from(tail).ok()?);
        Some(())
    }

    /// The chunk itself.
    pub fn chunk(&self) -> &C {
        &self.chunk
    }

    /// Gives the chunk back.
    pub fn into_chunk(self) -> C {
        self.chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Esp;

    #[test]
    fn what_was_prepended_is_peeled_again() {
        let mut frame = frame_of(&[1, 2, 3]);
        let esp = Esp {
            spi: 7.into(),
            sequence: 9.into(),
        };
        frame.prepend(&esp).unwrap();
        assert_eq!(frame.bytes(), [0, 0, 0, 7, 0, 0, 0, 9, 1, 2, 3]);
        assert_eq!(frame.peel::<Esp>().unwrap().spi.get(), 7);
        assert_eq!(frame.bytes(), [1, 2, 3]);
        frame.narrow(1, 1).unwrap();
        assert_eq!(frame.bytes(), [2]);
    }

    #[test]
    fn a_refused_operation_changes_nothing() {
        let mut frame = frame_of(&[1, 2, 3]);
        assert!(frame.peel::<Esp>().is_none());
        assert!(frame.skip(4).is_none());
        assert!(frame.trim(4).is_none());
        assert!(frame.narrow(1, 3).is_none() && frame.narrow(2, usize::MAX).is_none());
        assert!(frame.grow_front(17).is_none());
        assert!(frame.grow_back(46).is_none());
        assert!(frame.prepend_bytes(&[0; 17]).is_none());
        assert_eq!(frame.bytes(), [1, 2, 3]);
        assert!(frame.grow_front(16).is_some() && frame.grow_back(45).is_some());
        assert_eq!(frame.len(), 64);
    }

    #[test]
    fn a_window_beyond_the_chunk_is_no_frame() {
        assert!(Frame::new(chunk(), 60, 4).is_some());
        assert!(Frame::new(chunk(), 60, 5).is_none());
        assert!(Frame::new(chunk(), usize::MAX, 2).is_none());
    }

    fn chunk() -> Box<[u8]> {
        vec![0; 64].into()
    }

    fn frame_of(bytes: &[u8]) -> Frame<Box<[u8]>> {
        let mut frame = Frame::new(chunk(), 0, 0).unwrap();
        frame.fill(16, bytes).unwrap();
        frame
    }
}
