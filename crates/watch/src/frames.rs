use bytes::{Buf, Bytes};

use crate::{FrameSplitter, bounds};

/// One message of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// All of it.
    Whole(Bytes),
    /// Longer than the bound: its first bytes, and its length.
    Oversized {
        /// At most [`bounds::OBJECT_START`] bytes.
        start: Bytes,
        /// Bytes of the whole frame.
        length: usize,
    },
}

/// Frames that end with a line feed, as JSON watches have them.
///
/// A frame that lies within one chunk is a view of it; only frames across chunks are copied, and a frame beyond the bound is never held.
#[derive(Debug)]
pub struct Lines {
    limit: usize,
    chunk: Bytes,
    carry: Vec<u8>,
    /// Length of the frame so far once it is over the bound; its start is then in `carry`.
    over: Option<usize>,
}

impl Lines {
    /// Frames of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, chunk: Bytes::new(), carry: Vec::new(), over: None }
    }

    fn keep(&mut self, part: &[u8]) {
        if let Some(length) = &mut self.over {
            *length += part.len();
        } else if self.carry.len() + part.len() > self.limit {
            self.over = Some(self.carry.len() + part.len());
            let missing = bounds::OBJECT_START.saturating_sub(self.carry.len()).min(part.len());
            self.carry.extend_from_slice(&part[..missing]);
            self.carry.truncate(bounds::OBJECT_START);
            self.carry.shrink_to_fit();
        } else {
            self.carry.extend_from_slice(part);
        }
    }

    fn close(&mut self) -> Frame {
        let carried = Bytes::from(std::mem::take(&mut self.carry));
        match self.over.take() {
            Some(length) => Frame::Oversized { start: carried, length },
            None => Frame::Whole(carried),
        }
    }
}

impl FrameSplitter for Lines {
    fn push(&mut self, chunk: Bytes) {
        self.chunk = chunk;
    }

    fn next(&mut self) -> Option<Frame> {
        loop {
            let Some(end) = self.chunk.iter().position(|b| *b == b'\n') else {
                let rest = std::mem::take(&mut self.chunk);
                self.keep(&rest);
                return None;
            };
            let line = self.chunk.split_to(end);
            self.chunk.advance(1);
            if self.carry.is_empty() && self.over.is_none() && line.len() <= self.limit {
                if !blank(&line) {
                    return Some(Frame::Whole(line));
                }
                continue;
            }
            self.keep(&line);
            match self.close() {
                Frame::Whole(line) if blank(&line) => {}
                frame => return Some(frame),
            }
        }
    }

    fn finish(&mut self) -> Option<Frame> {
        let rest = std::mem::take(&mut self.chunk);
        self.keep(&rest);
        match self.close() {
            Frame::Whole(line) if blank(&line) => None,
            frame => Some(frame),
        }
    }
}

fn blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(limit: usize, chunks: &[&'static str]) -> Vec<Frame> {
        let mut lines = Lines::new(limit);
        let mut out = Vec::new();
        for chunk in chunks {
            lines.push(Bytes::from_static(chunk.as_bytes()));
            while let Some(frame) = lines.next() {
                out.push(frame);
            }
        }
        out.extend(lines.finish());
        out
    }

    fn whole(text: &'static str) -> Frame {
        Frame::Whole(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn frames_are_lines_wherever_the_chunks_break() {
        assert_eq!(cut(10, &["a\nb", "c\n", "\r\n\n", "d", "e", "\nlast"]), [whole("a"), whole("bc"), whole("de"), whole("last")]);
        let text: &'static str = "one\ntwo\n\nthree\n";
        for at in 0..text.len() {
            assert_eq!(cut(5, &[&text[..at], &text[at..]]), [whole("one"), whole("two"), whole("three")], "{at}");
        }
    }

    #[test]
    fn a_frame_over_the_bound_is_measured_and_not_held() {
        let frames = cut(4, &["12", "345", "67\nok\n123456\n"]);
        assert_eq!(frames[1], whole("ok"));
        assert!(matches!(&frames[0], Frame::Oversized { start, length: 7 } if &start[..] == b"12345"));
        assert!(matches!(&frames[2], Frame::Oversized { length: 6, .. }));
        let mut lines = Lines::new(8 << 10);
        for _ in 0..1_000 {
            lines.push(Bytes::from(vec![b'x'; 16 << 10]));
            assert_eq!(lines.next(), None);
            assert!(lines.carry.capacity() <= 16 << 10);
        }
    }
}
