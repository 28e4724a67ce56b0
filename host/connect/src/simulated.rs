// SPDX-License-Identifier: MIT
//! A signed trusted application in a simulated machine: `optee-qemu:UUID?ta=FILE`.
//!
//! | in the URL | what |
//! |:--|:--|
//! | `ta=FILE` | the signed application, which is installed under `UUID` |
//! | `&storage=DIR` | where OP-TEE's secure storage is kept; without it, it ends with the machine |
//! | `&machine=DIR` | the folder that the machine is made of ([`strongroom_optee_run::Folder`]) |
//! | `&logs=DIR` | where both worlds' consoles are kept |
//!
//! Without `machine` it is the folder in `STRONGROOM_OPTEE_MACHINE`, or the one that a build has made near
//! the client's executable.
//!
//! The first session of a process starts the machine, those with the same URL share it, and it ends with the
//! last one, or with the process, however that ends. QEMU protects nothing from its host.

use crate::relay::{Call, Done, Failure, Greeting, Order, SERVE, What};
use std::{
    collections::HashMap,
    fs,
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};
use strongroom_optee_qemu::protocol::{receive, send};
use strongroom_optee_run::{Carrier, Folder, RunError, VirtualTee, machine::Kept};
use strongroom_service::{
    ConnectError, Outgoing, TransportError, client::Opening, interface::HELLO_MAX,
};
use strongroom_tee::Uuid;

const QUERY: &str = "a query has ta=FILE, storage=DIR, machine=DIR and logs=DIR";
const NO_TA: &str = "say what is to be installed: ?ta=FILE, which strongroom sign-ta has written";

/// Which application, in what machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    application: Uuid,
    file: PathBuf,
    storage: Option<PathBuf>,
    machine: Option<PathBuf>,
    logs: Option<PathBuf>,
}

impl Simulated {
    /// Of the text behind `optee-qemu:`.
    pub(crate) fn parse(text: &str) -> Result<Self, TransportError> {
        let (uuid, query) = text.split_once('?').ok_or(TransportError::Address(NO_TA))?;
        let application = Uuid::parse_str(uuid)
            .map_err(|_| TransportError::Address("after optee-qemu: comes a UUID"))?;
        let (mut file, mut storage, mut machine, mut logs) = (None, None, None, None);
        for pair in query.split('&') {
            let (to, value) = match pair.split_once('=') {
                Some(("ta", value)) => (&mut file, value),
                Some(("storage", value)) => (&mut storage, value),
                Some(("machine", value)) => (&mut machine, value),
                Some(("logs", value)) => (&mut logs, value),
                Some(_) | None => return Err(TransportError::Address(QUERY)),
            };
            if value.is_empty() {
                return Err(TransportError::Address(QUERY));
            }
            *to = Some(PathBuf::from(value));
        }
        let file = file.ok_or(TransportError::Address(NO_TA))?;
        Ok(Self { application, file, storage, machine, logs })
    }

    /// Opens a session, in a machine that is there or is started now.
    pub(crate) fn connect(&self, opening: &Opening) -> Result<Simulation, ConnectError> {
        let session = Simulation::new(Machine::of(self)?);
        let mut hello = [0; HELLO_MAX];
        let hello = opening.hello(&mut hello)?;
        let greeting = Greeting {
            application: *self.application.as_bytes(),
            room: room(opening.request_max.max(opening.answer_max))?,
            hello: hello.to_vec(),
        };
        match session.ask(What::Open(greeting)) {
            Ok(answer) => opening.judge(&answer).map(|()| session),
            Err(TransportError::Closed) => Err(session.machine.why_it_ended()),
            Err(error) => Err(error.into()),
        }
    }

    fn start(&self) -> Result<Machine, ConnectError> {
        let signed = fs::read(&self.file).map_err(|error| {
            let words = format!("cannot read {}: {error}", self.file.display());
            ConnectError::Simulation(words.into())
        })?;
        self.boot(&signed).map_err(|error| failed(&error))
    }

    fn boot(&self, signed: &[u8]) -> Result<Machine, RunError> {
        let folder = Folder::of_user(self.machine.clone())?;
        let kept = Kept { logs: self.logs.clone(), storage: self.storage.clone() };
        let uuid = strongroom_optee_run::Uuid(*self.application.as_bytes());
        let tee = VirtualTee::start(&folder, uuid, signed, kept)?;
        Machine::over(|theirs| tee.carry_by(&[SERVE], theirs))
    }
}

/// A session with an application in a simulated machine.
#[derive(Debug)]
pub struct Simulation {
    machine: Arc<Machine>,
    number: u32,
    answers: Receiver<Result<Vec<u8>, Failure>>,
}

impl Simulation {
    fn new(machine: Arc<Machine>) -> Self {
        let number = machine.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answers) = channel();
        if let Some(sessions) = &mut *locked(&machine.sessions) {
            sessions.insert(number, answer);
        }
        Self { machine, number, answers }
    }

    /// Carries a call.
    ///
    /// # Errors
    ///
    /// [`TransportError`]; it is `Closed` when the machine has ended.
    pub fn call(&mut self, call: Outgoing<'_>) -> Result<usize, TransportError> {
        let Outgoing { command, request, answer, timeout } = call;
        let room = room(answer.len())?;
        let call = Call { command, request: request.to_vec(), room, timeout };
        let bytes = self.ask(What::Call(call))?;
        answer.get_mut(..bytes.len()).ok_or(TransportError::Protocol)?.copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn ask(&self, what: What) -> Result<Vec<u8>, TransportError> {
        self.machine.order(self.number, what)?;
        // When the machine ends, nobody is left who could answer.
        Ok(self.answers.recv().map_err(|_| TransportError::Closed)??)
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        if let Some(sessions) = &mut *locked(&self.machine.sessions) {
            sessions.remove(&self.number);
        }
        // One that has ended has closed its sessions.
        let _ = self.machine.order(self.number, What::Close);
    }
}

type Answer = Sender<Result<Vec<u8>, Failure>>;
/// Who waits for answers, by the session's number; nobody any more when the machine has ended.
type Sessions = Mutex<Option<HashMap<u32, Answer>>>;

/// A running machine of this process; the last session that has it ends it.
#[derive(Debug)]
struct Machine {
    orders: Mutex<UnixStream>,
    sessions: Arc<Sessions>,
    next: AtomicU32,
    carrier: Mutex<Option<Carrier>>,
}

impl Machine {
    /// The one that runs for this URL, or a new one.
    fn of(simulated: &Simulated) -> Result<Arc<Self>, ConnectError> {
        static RUNNING: Mutex<Vec<(Simulated, Weak<Machine>)>> = Mutex::new(Vec::new());
        let mut running = locked(&RUNNING);
        running.retain(|(_, machine)| machine.upgrade().is_some_and(|machine| machine.is_up()));
        let mut same = running.iter().filter(|(other, _)| other == simulated);
        if let Some(machine) = same.find_map(|(_, machine)| machine.upgrade()) {
            return Ok(machine);
        }
        let machine = Arc::new(simulated.start()?);
        running.push((simulated.clone(), Arc::downgrade(&machine)));
        Ok(machine)
    }

    /// With the relay at the other end of the stream that `carry` gets.
    fn over(carry: impl FnOnce(UnixStream) -> Result<Carrier, RunError>) -> Result<Self, RunError> {
        let (ours, theirs) = UnixStream::pair()?;
        let carrier = carry(theirs)?;
        let sessions = Arc::new(Mutex::new(Some(HashMap::new())));
        let (from, to) = (ours.try_clone()?, Arc::clone(&sessions));
        let listen = move || {
            listen(from, &to);
            // Whoever waits learns that nothing comes.
            *locked(&to) = None;
        };
        thread::Builder::new().name("answers".to_owned()).spawn(listen)?;
        let (orders, carrier) = (Mutex::new(ours), Mutex::new(Some(carrier)));
        Ok(Self { orders, sessions, next: AtomicU32::new(0), carrier })
    }

    fn is_up(&self) -> bool {
        locked(&self.sessions).is_some()
    }

    fn order(&self, session: u32, what: What) -> Result<(), TransportError> {
        let sent = send(&mut *locked(&self.orders), &Order { session, what });
        sent.map_err(|error| match error.raw_os_error() {
            // It is larger than any call may be.
            None => TransportError::Protocol,
            Some(_) => TransportError::Closed,
        })
    }

    /// What its carrier says, to the first who asks.
    fn why_it_ended(&self) -> ConnectError {
        let carrier = locked(&self.carrier).take();
        match carrier.and_then(|carrier| carrier.finish(false)) {
            Some(Err(error)) => failed(&error),
            Some(Ok(())) | None => TransportError::Closed.into(),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The relay closes all sessions when its input ends, and then the machine's power is cut.
        let _ = locked(&self.orders).shutdown(Shutdown::Write);
        if let Some(carrier) = locked(&self.carrier).take() {
            // Nobody is left who would want to know what came of it.
            let _ = carrier.finish(false);
        }
    }
}

/// Hands out answers until there are no more, or something comes that is none.
fn listen(mut from: UnixStream, sessions: &Sessions) {
    while let Ok(Done { session, answer }) = receive(&mut from) {
        let asked = locked(sessions).as_ref().and_then(|all| all.get(&session).cloned());
        // A session that was dropped wants no answer.
        drop(asked.map(|asked| asked.send(answer)));
    }
}

fn room(bytes: usize) -> Result<u32, TransportError> {
    u32::try_from(bytes).map_err(|_| TransportError::Protocol)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(error: &RunError) -> ConnectError {
    let words = match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    };
    ConnectError::Simulation(words.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::relay;
    use strongroom_service::{
        OpenError, Transport,
        interface::{Answer, write},
    };

    /// Gives back what it is asked, but has errors for some commands.
    struct Echo;
    const PANICS: u32 = 13;
    const FAILURES: [TransportError; 6] = [
        TransportError::Tee { code: 0xffff_000c, origin: 3 },
        TransportError::Dead,
        TransportError::Absent,
        TransportError::Cancelled,
        TransportError::TimedOut,
        TransportError::Protocol,
    ];
    const FAILS: u32 = 1000;

    impl Transport for Echo {
        fn call(&mut self, call: Outgoing<'_>) -> Result<usize, TransportError> {
            if call.command == PANICS {
                return Err(TransportError::Dead);
            }
            let at = call.command.checked_sub(FAILS).and_then(|at| usize::try_from(at).ok());
            if let Some(failure) = at.and_then(|at| FAILURES.get(at)) {
                return Err(*failure);
            }
            let answer = call.answer.get_mut(..call.request.len());
            answer.ok_or(TransportError::Protocol)?.copy_from_slice(call.request);
            Ok(call.request.len())
        }
    }

    /// A machine whose applications welcome any hello but an empty one.
    fn machine() -> Arc<Machine> {
        let over = Machine::over(|theirs| {
            Carrier::start(move || {
                relay(theirs.try_clone()?, theirs, |greeting| {
                    let mut room = [0; HELLO_MAX];
                    let welcome = !greeting.hello.is_empty();
                    let refused = Answer::Refused(OpenError::Busy);
                    let answer = if welcome { Answer::Welcome } else { refused };
                    let answer = write(&answer, &mut room).ok_or(TransportError::Protocol)?;
                    Ok((welcome.then_some(Echo), answer.to_vec()))
                })
                .map_err(RunError::from)
            })
        });
        Arc::new(over.unwrap())
    }

    fn open(machine: &Arc<Machine>, hello: &[u8]) -> (Simulation, Vec<u8>) {
        let session = Simulation::new(Arc::clone(machine));
        let greeting = Greeting { application: [1; 16], room: 64, hello: hello.to_vec() };
        let answer = session.ask(What::Open(greeting)).unwrap();
        (session, answer)
    }

    fn call(
        session: &mut Simulation,
        command: u32,
        request: &[u8],
    ) -> Result<Vec<u8>, TransportError> {
        let mut answer = vec![0; 64];
        let outgoing = Outgoing { command, request, answer: &mut answer, timeout: None };
        let length = session.call(outgoing)?;
        answer.truncate(length);
        Ok(answer)
    }

    #[test]
    fn sessions_get_their_own_answers_and_errors_keep_their_type() {
        let machine = machine();
        let (mut one, welcome) = open(&machine, b"hi");
        assert_eq!(welcome, [0]);
        let (mut two, _) = open(&machine, b"hi");
        thread::scope(|scope| {
            for session in [&mut one, &mut two] {
                scope.spawn(move || {
                    let number = session.number;
                    for at in 0..100_u32 {
                        let request = [number.to_le_bytes(), at.to_le_bytes()].concat();
                        assert_eq!(call(session, at, &request).is_ok(), at != PANICS);
                        let at = 2 * PANICS;
                        assert_eq!(call(session, at, &request), Ok(request));
                    }
                });
            }
        });
        for (command, failure) in (FAILS..).zip(FAILURES) {
            assert_eq!(call(&mut one, command, b""), Err(failure));
        }
        assert_eq!(call(&mut one, 0, &[7; 65]), Err(TransportError::Protocol));
        let (_refused, answer) = open(&machine, b"");
        assert_eq!(answer, [2, 2]);
        drop(one);
        assert_eq!(call(&mut two, 0, b"still there"), Ok(b"still there".to_vec()));
    }

    #[test]
    fn a_machine_that_ends_closes_its_sessions() {
        let machine = machine();
        let (mut session, _) = open(&machine, b"hi");
        locked(&machine.orders).shutdown(Shutdown::Both).unwrap();
        assert_eq!(call(&mut session, 0, b"x"), Err(TransportError::Closed));
        while machine.is_up() {
            thread::yield_now();
        }
        let late = Simulation::new(Arc::clone(&machine));
        assert_eq!(late.ask(What::Close), Err(TransportError::Closed));
        assert!(matches!(machine.why_it_ended(), ConnectError::Transport(TransportError::Closed)));
    }

    #[test]
    fn a_url_names_an_application_and_its_file() {
        const UUID: &str = "5f0c1a3e-8d4b-4c56-9b1f-2a7e6d0c9f31";
        for (query, wanted) in [
            ("", NO_TA),
            ("?storage=s", NO_TA),
            ("?ta=", QUERY),
            ("?ta=a&config=big", QUERY),
            ("?ta=a&storage", QUERY),
        ] {
            let parsed = Simulated::parse(&format!("{UUID}{query}"));
            assert_eq!(parsed, Err(TransportError::Address(wanted)), "{query}");
        }
        assert!(matches!(Simulated::parse("5f0c?ta=a"), Err(TransportError::Address(_))));
        let whole =
            Simulated::parse(&format!("{UUID}?ta=a.ta&storage=s&machine=m&logs=l")).unwrap();
        let of = |name: &str| Some(PathBuf::from(name));
        assert_eq!(Some(whole.file), of("a.ta"));
        assert_eq!([whole.storage, whole.machine, whole.logs], [of("s"), of("m"), of("l")]);
    }

    #[test]
    fn what_lacks_for_a_machine_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.ta");
        let machine = Some(folder.path().join("machine"));
        let (storage, logs) = (None, None);
        let application = Uuid::from_u128(1);
        let simulated = Simulated { application, file, storage, machine, logs };
        let said = |simulated: &Simulated| Machine::of(simulated).unwrap_err().to_string();
        assert!(said(&simulated).contains("a.ta"), "{}", said(&simulated));
        fs::write(&simulated.file, b"signed").unwrap();
        assert!(said(&simulated).contains("machine/flash.bin"), "{}", said(&simulated));
        assert!(said(&simulated).contains("cargo xtask optee build"), "{}", said(&simulated));
    }
}
