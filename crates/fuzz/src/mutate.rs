//! Mutations: each changes an input a little, in a way that some mistake in some parser does not expect.

use rigl_base::random::Draws;

/// Numbers at which arithmetic and limits change.
const INTERESTING: [u64; 24] = [
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    10,
    16,
    127,
    128,
    255,
    256,
    1032,
    32_767,
    65_535,
    65_536,
    16_777_216,
    2_147_483_648,
    4_294_967_295,
    4_294_967_296,
    9_007_199_254_740_993,
    9_223_372_036_854_775_808,
    u64::MAX,
];

/// The same as text, with what only text can say.
const NUMBERS: [&str; 24] = [
    "0",
    "1",
    "-1",
    "2",
    "9",
    "10",
    "64",
    "65",
    "255",
    "256",
    "65535",
    "65536",
    "67108864",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1e400",
    "5e-324",
    "0.999999999999",
    "-0.0",
];

/// Bytes that end a word.
const DELIMITERS: &[u8] = b" \t\r\n\"'`=:,;()[]{}<>/.#";

/// Changes inputs.
pub(crate) struct Mutator<'a> {
    pub(crate) draws: &'a mut Draws,
    pub(crate) tokens: &'a [&'a str],
    /// Inputs to take pieces from; at least one.
    pub(crate) others: &'a [Vec<u8>],
    /// Longest input.
    pub(crate) longest: usize,
}

impl Mutator<'_> {
    /// One to eight mutations, few more often than many.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        loop {
            self.one(bytes);
            bytes.truncate(self.longest);
            if self.below(2) == 0 {
                return;
            }
        }
    }

    fn one(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return self.insert(bytes);
        }
        match self.below(14) {
            0 => {
                let at = self.below(bytes.len());
                bytes[at] ^= 1 << self.below(8);
            }
            1 => {
                let at = self.below(bytes.len());
                bytes[at] = self.byte();
            }
            2 => {
                let (start, end) = self.chunk(bytes.len());
                bytes.drain(start..end);
            }
            3 => self.repeat(bytes),
            4 => self.splice(bytes),
            5 if self.below(4) == 0 => bytes.truncate(self.below(bytes.len() + 1)),
            5..=7 => self.insert(bytes),
            8 => self.integer(bytes),
            9 | 10 => self.number(bytes),
            11 | 12 => self.word(bytes),
            _ => self.line(bytes),
        }
    }

    fn below(&mut self, n: usize) -> usize {
        self.draws.below(n as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        match self.below(4) {
            0 => self.draws.word() as u8,
            1 => INTERESTING[self.below(INTERESTING.len())] as u8,
            2 => DELIMITERS[self.below(DELIMITERS.len())],
            _ => b'0' + self.below(75) as u8,
        }
    }

    /// A piece of something of `length` bytes, mostly a short one.
    fn chunk(&mut self, length: usize) -> (usize, usize) {
        let start = self.below(length);
        let longest = [4, 4, 16, 16, 16, 64, 64, length][self.below(8)].min(length - start);
        (start, start + 1 + self.below(longest))
    }

    /// The same piece again, once or very often.
    fn repeat(&mut self, bytes: &mut Vec<u8>) {
        let (start, end) = self.chunk(bytes.len());
        let room = self.longest.saturating_sub(bytes.len()) / (end - start);
        let times = if self.below(256) == 0 { room } else { (1 + self.below(3)).min(room) };
        let piece = bytes[start..end].repeat(times);
        bytes.splice(end..end, piece);
    }

    /// A piece of another input, put in or in the place of as many bytes.
    fn splice(&mut self, bytes: &mut Vec<u8>) {
        let other = &self.others[self.draws.below(self.others.len() as u64) as usize];
        if other.is_empty() {
            return;
        }
        let (start, end) = self.chunk(other.len());
        let at = self.below(bytes.len() + 1);
        let until = if self.below(2) == 0 { at } else { bytes.len().min(at + end - start) };
        bytes.splice(at..until, other[start..end].iter().copied());
    }

    /// A token or a few bytes, put in or in the place of as many.
    fn insert(&mut self, bytes: &mut Vec<u8>) {
        let piece: Vec<u8> = match self.below(3) {
            0 => (0..=self.below(8)).map(|_| self.byte()).collect(),
            _ => self.tokens[self.below(self.tokens.len())].bytes().collect(),
        };
        let at = self.below(bytes.len() + 1);
        let until = if self.below(2) == 0 { at } else { bytes.len().min(at + piece.len()) };
        bytes.splice(at..until, piece);
    }

    /// A binary integer of any width and byte order, set or changed by a little.
    fn integer(&mut self, bytes: &mut [u8]) {
        let width = [1, 2, 4, 8][self.below(4)].min(bytes.len());
        let at = self.below(bytes.len() - width + 1);
        let field = &mut bytes[at..at + width];
        let big = self.below(2) == 0;
        let value = if self.below(2) == 0 {
            INTERESTING[self.below(INTERESTING.len())]
        } else {
            let read = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
            let value = if big { field.iter().fold(0, read) } else { field.iter().rev().fold(0, read) };
            value.wrapping_add(self.below(17) as u64).wrapping_sub(8)
        };
        let value = value.to_le_bytes();
        for (i, byte) in field.iter_mut().enumerate() {
            *byte = value[if big { width - 1 - i } else { i }];
        }
    }

    /// A number in a text, replaced.
    fn number(&mut self, bytes: &mut Vec<u8>) {
        let from = self.below(bytes.len());
        let Some(start) = (from..bytes.len()).find(|&i| bytes[i].is_ascii_digit()) else { return };
        let end = (start..bytes.len()).find(|&i| !bytes[i].is_ascii_digit()).unwrap_or(bytes.len());
        let number = match self.below(3) {
            0 => self.below(1000).to_string(),
            _ => NUMBERS[self.below(NUMBERS.len())].to_string(),
        };
        bytes.splice(start..end, number.into_bytes());
    }

    /// A word, replaced by one of this or another input, or by a token.
    fn word(&mut self, bytes: &mut Vec<u8>) {
        let (start, end) = word_at(bytes, self.below(bytes.len()));
        let new: Vec<u8> = if self.below(3) == 0 {
            self.tokens[self.below(self.tokens.len())].bytes().collect()
        } else {
            let other = &self.others[self.draws.below(self.others.len() as u64) as usize];
            if other.is_empty() {
                return;
            }
            let (from, to) = word_at(other, self.below(other.len()));
            other[from..to].to_vec()
        };
        bytes.splice(start..end, new);
    }

    /// A line, removed, doubled, or moved.
    fn line(&mut self, bytes: &mut Vec<u8>) {
        let (start, end) = line_at(bytes, self.below(bytes.len()));
        let line = bytes[start..end].to_vec();
        let what = self.below(3);
        if what != 1 {
            bytes.drain(start..end);
        }
        if what != 0 && !bytes.is_empty() {
            let (at, _) = line_at(bytes, self.below(bytes.len()));
            bytes.splice(at..at, line);
        }
    }
}

/// The word that byte `at` belongs to; a delimiter is one by itself.
fn word_at(bytes: &[u8], at: usize) -> (usize, usize) {
    let ends = |byte: &u8| DELIMITERS.contains(byte);
    if ends(&bytes[at]) {
        return (at, at + 1);
    }
    let start = bytes[..at].iter().rposition(ends).map_or(0, |before| before + 1);
    let end = bytes[at..].iter().position(ends).map_or(bytes.len(), |after| at + after);
    (start, end)
}

/// The line that byte `at` belongs to, with its line feed.
fn line_at(bytes: &[u8], at: usize) -> (usize, usize) {
    let start = bytes[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |before| before + 1);
    let end = bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |after| at + after + 1);
    (start, end)
}

#[cfg(test)]
mod tests {
    use rigl_base::random::{Purpose, Stream};

    use super::*;

    #[test]
    fn words_and_lines_are_found_from_any_of_their_bytes() {
        let text = b"ab = cd\nx";
        assert_eq!([0, 1].map(|at| word_at(text, at)), [(0, 2); 2]);
        assert_eq!(word_at(text, 3), (3, 4));
        assert_eq!([5, 6].map(|at| word_at(text, at)), [(5, 7); 2]);
        assert_eq!([0, 4, 7].map(|at| line_at(text, at)), [(0, 8); 3]);
        assert_eq!(line_at(text, 8), (8, 9));
    }

    #[test]
    fn every_input_is_changed_within_its_limit_by_anything_from_anything() {
        let corpus = vec![b"".to_vec(), b"a = 1\n".to_vec(), vec![0; 40], "é\n\n".into()];
        let mut draws = Stream::new(0, Purpose::Test, 0).draws();
        let mut changed = 0;
        for i in 0..20_000 {
            let before = &corpus[i % corpus.len()];
            let mut bytes = before.clone();
            let mut mutator =
                Mutator { draws: &mut draws, tokens: &["token", "é"], others: &corpus, longest: 64 };
            mutator.mutate(&mut bytes);
            assert!(bytes.len() <= 64);
            changed += usize::from(bytes != *before);
        }
        assert!(changed > 15_000, "{changed}");
    }
}
