// SPDX-License-Identifier: MIT
//! The host: serves an image and a console, honestly or in one of several bad ways.

use crate::numbers::Numbers;
use crate::visitors::{Said, Visitors};
use std::collections::VecDeque;
use strongroom_wire::image::BLOCK;
use strongroom_wire::message::{Answer, Ask, HostError, Stream, ToEnclave, ToHost, VERSION};

/// How the host answers requests for blocks of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Honest,
    /// With a byte too few.
    Short,
    /// With a block too many.
    Long,
    /// With no bytes.
    Empty,
    /// With the right blocks of another place.
    Shifted,
    /// Under a ticket that nobody has; then honestly.
    UnknownTicket,
    /// Honestly, then once more with other bytes.
    Twice,
    /// With an answer to another kind of question.
    WrongKind,
    /// With a failure.
    Failure,
    /// With bytes that are no message; then honestly.
    Malformed,
    /// With a message that is cut off.
    CutOff,
    /// With random bytes instead of blocks.
    Noise,
    /// Not at all.
    Silent,
    /// With all answers of a round in reverse order.
    Reverse,
}

impl Manner {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Honest,
        Self::Short,
        Self::Long,
        Self::Empty,
        Self::Shifted,
        Self::UnknownTicket,
        Self::Twice,
        Self::WrongKind,
        Self::Failure,
        Self::Malformed,
        Self::CutOff,
        Self::Noise,
        Self::Silent,
        Self::Reverse,
    ];

    /// Whether a program still gets its bytes.
    pub const fn is_harmless(self) -> bool {
        matches!(
            self,
            Self::Honest | Self::UnknownTicket | Self::Twice | Self::Malformed | Self::Reverse
        )
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Host {
    /// The image file, which may be damaged on purpose.
    pub image: Vec<u8>,
    /// How blocks are served.
    pub manner: Manner,
    /// Requests for blocks that are served honestly before [`Host::manner`] counts.
    pub honest_reads: u64,
    /// Whether the greeting is answered.
    pub greets: bool,
    /// Standard input, piece by piece; at its end the program is told so.
    pub input: VecDeque<Vec<u8>>,
    /// Whether input stays open when there is no more.
    pub input_stays_open: bool,
    /// Standard output so far.
    pub output: Vec<u8>,
    /// Standard error so far.
    pub errors: Vec<u8>,
    /// The kernel's log.
    pub log: Vec<String>,
    /// Blocks that were asked for: first and count.
    pub reads: Vec<(u64, u32)>,
    /// The exit status, when the program has ended.
    pub exit: Option<u8>,
    /// Why the kernel gave up.
    pub abort: Option<String>,
    /// Time at which the program started.
    pub started_ns: Option<u64>,
    /// Messages from the kernel that are not well-formed. There must be none.
    pub nonsense: usize,
    /// Whether clients of a session can come.
    pub attaches: bool,
    /// Whether [`Host::traffic`] is kept.
    pub keeps_traffic: bool,
    /// Every message of either side, as a host sees them.
    pub traffic: Vec<Vec<u8>>,
    visitors: Visitors,
    numbers: Numbers,
    replies: Vec<Vec<u8>>,
    waiting_input: Option<u64>,
}

impl Host {
    /// An honest host.
    pub fn new(image: Vec<u8>) -> Self {
        Self {
            image,
            manner: Manner::Honest,
            honest_reads: 0,
            greets: true,
            input: VecDeque::new(),
            input_stays_open: false,
            output: Vec::new(),
            errors: Vec::new(),
            log: Vec::new(),
            reads: Vec::new(),
            exit: None,
            abort: None,
            started_ns: None,
            nonsense: 0,
            attaches: true,
            keeps_traffic: false,
            traffic: Vec::new(),
            visitors: Visitors::default(),
            numbers: Numbers::new(77),
            replies: Vec::new(),
            waiting_input: None,
        }
    }

    /// Takes a message of the kernel.
    pub fn hear(&mut self, message: &[u8]) {
        if self.keeps_traffic {
            self.traffic.push(message.to_vec());
        }
        let Ok(ToHost { ticket, ask }) = postcard::from_bytes(message) else {
            self.nonsense += 1;
            return;
        };
        match ask {
            Ask::Hello { version } => {
                assert_eq!(version, VERSION, "kernel and host are built together");
                if self.greets {
                    let welcome = Answer::Welcome {
                        wall_ns: 1_700_000_000_000_000_000,
                        terminal: [false; 3],
                        size: None,
                    };
                    self.answer(ticket, Ok(welcome));
                }
            }
            Ask::Started { boot_ns } => self.started_ns = Some(boot_ns),
            Ask::ConsoleWrite { stream, bytes } => {
                match stream {
                    Stream::Output => self.output.extend_from_slice(bytes),
                    Stream::Error => self.errors.extend_from_slice(bytes),
                }
                self.answer(ticket, Ok(Answer::Done));
            }
            Ask::ConsoleRead { .. } => {
                self.waiting_input = Some(ticket);
                self.feed();
            }
            Ask::WallClock => self.answer(ticket, Ok(Answer::Time(1_700_000_000_000_000_000))),
            Ask::ImageRead { block, count } => self.read(ticket, block, count),
            Ask::Exit { status, .. } => self.exit = Some(status),
            Ask::Abort { reason } => self.abort = Some(reason.into()),
            Ask::Log { line } => self.log.push(line.into()),
            Ask::Socket(ask) if self.attaches => {
                let said = self.visitors.serve(ticket, &ask);
                self.say_all(said);
            }
            Ask::File(_) | Ask::Socket(_) => self.answer(ticket, Err(HostError::Unsupported)),
        }
    }

    /// A client of a session comes; its number.
    pub fn visit(&mut self) -> u32 {
        let (number, said) = self.visitors.connect();
        self.say_all(said);
        number
    }

    /// Brings the enclave what a client sends.
    pub fn bring(&mut self, visitor: u32, bytes: &[u8]) {
        let said = self.visitors.send(visitor, bytes);
        self.say_all(said);
    }

    /// Tells the enclave that a client sends nothing more.
    pub fn hang_up(&mut self, visitor: u32) {
        let said = self.visitors.hang_up(visitor);
        self.say_all(said);
    }

    /// What the enclave has sent to a client since the last time.
    pub fn fetch(&mut self, visitor: u32) -> Vec<u8> {
        self.visitors.take(visitor)
    }

    /// Whether the enclave sends a client nothing more.
    pub fn has_left(&mut self, visitor: u32) -> bool {
        self.visitors.is_finished(visitor)
    }

    /// Whether the enclave takes clients.
    pub const fn takes_visitors(&self) -> bool {
        self.visitors.is_listening()
    }

    fn say_all(&mut self, said: Vec<Said>) {
        for (ticket, result) in said.into_iter().filter(|(ticket, _)| *ticket != 0) {
            let result = result.as_ref().map(|owned| owned.answer()).map_err(|error| *error);
            self.answer(ticket, result);
        }
    }

    /// What the host has to say now.
    pub fn speak(&mut self) -> Vec<Vec<u8>> {
        let mut replies = std::mem::take(&mut self.replies);
        if self.keeps_traffic {
            self.traffic.extend(replies.iter().cloned());
        }
        if self.manner == Manner::Reverse {
            replies.reverse();
        }
        replies
    }

    /// More standard input, for a program that waits for it.
    pub fn type_in(&mut self, bytes: &[u8]) {
        self.input.push_back(bytes.to_vec());
        self.feed();
    }

    /// Sends a signal as a user at the host would.
    pub fn signal(&mut self, number: u8) {
        self.say(&ToEnclave::Signal(number));
    }

    /// Says something that no protocol knows.
    pub fn say_raw(&mut self, bytes: &[u8]) {
        self.replies.push(bytes.to_vec());
    }

    fn feed(&mut self) {
        let Some(ticket) = self.waiting_input else { return };
        let piece = match self.input.pop_front() {
            Some(piece) => piece,
            None if self.input_stays_open => return,
            None => Vec::new(),
        };
        self.waiting_input = None;
        self.answer(ticket, Ok(Answer::Data(&piece)));
    }

    fn say(&mut self, message: &ToEnclave<'_>) {
        let bytes = postcard::to_allocvec(message).expect("messages can be written");
        self.replies.push(bytes);
    }

    fn answer(&mut self, ticket: u64, result: Result<Answer<'_>, HostError>) {
        self.say(&ToEnclave::Reply { ticket, result });
    }

    fn blocks(&self, block: u64, count: u32) -> Vec<u8> {
        let start = block as usize * BLOCK;
        let end = start + count as usize * BLOCK;
        self.image.get(start..end).map(<[u8]>::to_vec).unwrap_or_default()
    }

    fn read(&mut self, ticket: u64, block: u64, count: u32) {
        self.reads.push((block, count));
        let mut data = self.blocks(block, count);
        if self.honest_reads > 0 {
            self.honest_reads -= 1;
            return self.answer(ticket, Ok(Answer::Data(&data)));
        }
        match self.manner {
            Manner::Honest | Manner::Reverse => {}
            Manner::Short => {
                data.pop();
            }
            Manner::Long => data.resize(data.len() + BLOCK, 0),
            Manner::Empty => data.clear(),
            Manner::Shifted => data.rotate_left(1),
            Manner::UnknownTicket => {
                self.answer(ticket + 1000, Ok(Answer::Data(&data)));
                self.answer(0, Ok(Answer::Data(&data)));
            }
            Manner::Twice => self.answer(ticket, Ok(Answer::Data(&data))),
            Manner::WrongKind => return self.answer(ticket, Ok(Answer::Time(7))),
            Manner::Failure => return self.answer(ticket, Err(HostError::NotFound)),
            Manner::Malformed => {
                self.say_raw(&[0xff; 9]);
                self.say_raw(&[]);
            }
            Manner::CutOff => {
                self.answer(ticket, Ok(Answer::Data(&data)));
                let length = self.replies.last().map_or(0, Vec::len);
                self.replies.iter_mut().next_back().into_iter().for_each(|reply| {
                    reply.truncate(length / 2);
                });
                return;
            }
            Manner::Noise => self.numbers.fill(&mut data),
            Manner::Silent => return,
        }
        if self.manner == Manner::Twice {
            data.iter_mut().for_each(|byte| *byte ^= 0x55);
        }
        self.answer(ticket, Ok(Answer::Data(&data)));
    }
}
