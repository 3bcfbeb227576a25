//! One process takes over from another without a moment in which nobody listens: the upgrade of the binary.
//!
//! The old process starts the new one, whose standard input is a Unix socket; once that says that it is a portcullis, it is
//! sent the listening sockets (`SCM_RIGHTS`, unix(7)). Both accept until the new one says that it serves; then the old one accepts no more, drains,
//! and says at its end how many writes it leaves open.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    net::{Shutdown, SocketAddr},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, ExitStatus},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
    process::{Pid, Signal, kill_process},
};
use serde::{Deserialize, Serialize};

use crate::listener::{HandedSocket, Listening, Places, Sockets};

/// The argument that tells a process to take over; not for people.
pub const TAKE_OVER: &str = "--take-over";
/// Of what the processes tell each other.
const VERSION: u32 = 1;
/// The new process loads everything that a configuration names.
const PATIENCE: Duration = Duration::from_secs(120);
/// One message carries no more (`SCM_MAX_FD`).
const MOST_SOCKETS: usize = 253;
const LONGEST_OFFER: u64 = 64 * 1024;
/// How long a process that gave up may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(2);
const HELLO: &str = "hello";
const READY: &str = "ready";

/// Why the process that serves goes on serving.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    #[error("this is the first process of a container, which ends with it: start another container instead")]
    FirstProcess,
    #[error("more than {MOST_SOCKETS} listening sockets cannot be handed over")]
    TooManySockets,
    #[error("cannot start {program}: {error}")]
    Start { program: String, error: io::Error },
    #[error("the new process ended ({0}); what it had to say is above, in the same log")]
    Ended(ExitStatus),
    #[error("the new process did not serve within {PATIENCE:?}")]
    Silent,
    #[error("cannot speak to the new process: {0}")]
    Broken(#[from] io::Error),
}

/// What cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    #[error("{TAKE_OVER} is for the upgrade of a running portcullis, which starts the new one itself on SIGUSR2")]
    NotOffered,
    #[error("the running portcullis is too different to take over from: restart it instead")]
    Version,
    #[error("cannot take over: {0}")]
    Broken(#[from] io::Error),
}

#[derive(Serialize, Deserialize)]
struct Offer {
    version: u32,
    pid: u32,
    https: Vec<Address>,
    http: Vec<Address>,
    admin: Vec<Address>,
}

#[derive(Serialize, Deserialize)]
struct Address {
    address: SocketAddr,
    only_v6: bool,
}

/// A new process on its way.
pub(super) struct Launch {
    child: Child,
    stream: UnixStream,
    listening: Arc<Listening>,
}

/// Who took over.
pub(super) struct Successor {
    pub(super) pid: u32,
    stream: UnixStream,
}

impl Launch {
    /// Starts the binary that is now where this one was started from, with the same arguments.
    pub(super) fn begin(listening: Arc<Listening>) -> Result<Self, UpgradeError> {
        if std::process::id() == 1 {
            return Err(UpgradeError::FirstProcess);
        }
        let (ours, theirs) = UnixStream::pair()?;
        let mut arguments = env::args_os();
        let program = arguments.next().unwrap_or_else(|| OsString::from("portcullis"));
        let child = Command::new(&program)
            .args(arguments.filter(|argument| argument != OsStr::new(TAKE_OVER)))
            .arg(TAKE_OVER)
            // It names the process before.
            .env_remove("WATCHDOG_PID")
            .stdin(OwnedFd::from(theirs))
            .spawn()
            .map_err(|error| UpgradeError::Start { program: program.display().to_string(), error })?;
        Ok(Self { child, stream: ours, listening })
    }

    /// Ends the wait from elsewhere.
    pub(super) fn interrupt(&self) -> io::Result<Interrupt> {
        Ok(Interrupt { pid: self.child.id(), stream: self.stream.try_clone()? })
    }

    /// Offers the new process the sockets and waits until it serves. Blocks.
    ///
    /// # Errors
    /// It ended, or took too long and was ended.
    pub(super) fn ready(self) -> Result<Successor, UpgradeError> {
        match self.introduced() {
            Ok(()) => Ok(Successor { pid: self.child.id(), stream: self.stream }),
            Err(UpgradeError::Broken(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(self.give_up()),
            Err(UpgradeError::Broken(_)) => Err(self.ended()),
            Err(error) => {
                self.give_up();
                Err(error)
            }
        }
    }

    fn introduced(&self) -> Result<(), UpgradeError> {
        self.stream.set_read_timeout(Some(PATIENCE))?;
        let mut said = BufReader::new(&self.stream);
        // Whatever else was started there would hold the sockets for as long as it lives.
        hear(&mut said, HELLO)?;
        let places = self.listening.places();
        send(&self.stream, &Message::offering(&places)?)?;
        Ok(hear(&mut said, READY)?)
    }

    /// The other end is closed: it is about to end, and has something to say.
    fn ended(mut self) -> UpgradeError {
        let since = Instant::now();
        while since.elapsed() < LAST_WORDS {
            match self.child.try_wait() {
                Ok(Some(status)) => return UpgradeError::Ended(status),
                Ok(None) => sleep(Duration::from_millis(10)),
                Err(error) => return error.into(),
            }
        }
        let _ = self.child.kill();
        self.child.wait().map_or_else(UpgradeError::from, UpgradeError::Ended)
    }

    fn give_up(mut self) -> UpgradeError {
        let _ = self.child.kill();
        let _ = self.child.wait();
        UpgradeError::Silent
    }
}

fn hear(said: &mut impl io::BufRead, word: &str) -> io::Result<()> {
    let mut line = String::new();
    said.take(LONGEST_OFFER).read_line(&mut line)?;
    if line.trim_end() == word { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// A wait that can be ended.
pub(super) struct Interrupt {
    pub(super) pid: u32,
    stream: UnixStream,
}

impl Interrupt {
    /// Asks the new process to stop: it may have let clients in already.
    pub(super) fn now(&self) {
        tell(self.pid, Signal::TERM);
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Ends the new process as well, at once.
    pub(super) fn quit(&self) {
        tell(self.pid, Signal::KILL);
    }
}

/// A child keeps its number until this process has heard of its end.
fn tell(child: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) {
        // It may be gone.
        let _ = kill_process(pid, signal);
    }
}

impl Successor {
    /// What this process was told, that one is to do: read the configuration again.
    pub(super) fn reload(pid: u32) {
        tell(pid, Signal::HUP);
    }

    /// The last that is said before the end.
    pub(super) fn bequeath(mut self, open_writes: usize) {
        // It counts some where it hears nothing.
        let _ = writeln!(self.stream, "{open_writes}");
    }
}

/// What is sent, with the descriptors in the same order.
struct Message<'a> {
    text: Vec<u8>,
    descriptors: Vec<BorrowedFd<'a>>,
}

impl<'a> Message<'a> {
    fn offering(places: &'a Places) -> Result<Self, UpgradeError> {
        let mut descriptors = Vec::new();
        let mut addresses = |sockets: &'a Sockets| -> Vec<Address> {
            let handed = sockets.handed().map(|HandedSocket { address, only_v6, descriptor }| {
                descriptors.push(descriptor);
                Address { address, only_v6 }
            });
            handed.collect()
        };
        let offer = Offer {
            version: VERSION,
            pid: std::process::id(),
            https: addresses(&places.https),
            http: addresses(&places.http),
            admin: addresses(&places.admin),
        };
        if descriptors.len() > MOST_SOCKETS {
            return Err(UpgradeError::TooManySockets);
        }
        let mut text = serde_json::to_vec(&offer).map_err(io::Error::from)?;
        text.push(b'\n');
        Ok(Self { text, descriptors })
    }
}

fn send(mut stream: &UnixStream, Message { text, descriptors }: &Message<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(descriptors));
    let sent = sendmsg(stream, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)?;
    stream.write_all(text.get(sent..).unwrap_or_default())
}

/// What the process before offers.
pub struct Inheritance {
    pub(super) pid: u32,
    https: Vec<HandedSocket<OwnedFd>>,
    http: Vec<HandedSocket<OwnedFd>>,
    admin: Vec<HandedSocket<OwnedFd>>,
    stream: UnixStream,
}

impl Inheritance {
    /// Takes it from standard input, in whose place nothing is read from then on. Blocks.
    pub fn receive() -> Result<Self, TakeOverError> {
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        if stream.peer_addr().is_err() {
            return Err(TakeOverError::NotOffered);
        }
        rustix::stdio::dup2_stdin(File::open("/dev/null")?).map_err(io::Error::from)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        writeln!(&stream, "{HELLO}")?;
        let (offer, mut descriptors) = offered(&stream)?;
        stream.set_read_timeout(None)?;
        let offer: Offer = serde_json::from_slice(&offer).map_err(|_| TakeOverError::Version)?;
        if offer.version != VERSION {
            return Err(TakeOverError::Version);
        }
        let mut descriptors = descriptors.drain(..);
        let mut sockets = |addresses: Vec<Address>| -> Vec<HandedSocket<OwnedFd>> {
            let sockets = addresses.into_iter().zip(descriptors.by_ref());
            sockets
                .map(|(Address { address, only_v6 }, descriptor)| HandedSocket { address, only_v6, descriptor })
                .collect()
        };
        let (https, http, admin) = (sockets(offer.https), sockets(offer.http), sockets(offer.admin));
        Ok(Self { pid: offer.pid, https, http, admin, stream })
    }

    /// The sockets, to be called within a tokio runtime, and the way back.
    pub(super) fn open(self) -> io::Result<(Places, Parent)> {
        let places = Places {
            https: Sockets::taken(self.https)?,
            http: Sockets::taken(self.http)?,
            admin: Sockets::taken(self.admin)?,
        };
        Ok((places, Parent { stream: self.stream }))
    }
}

fn offered(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut first = [0; 4096];
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut first)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    let mut text = first.get(..received.bytes).unwrap_or_default().to_vec();
    if !text.ends_with(b"\n") {
        BufReader::new(stream).take(LONGEST_OFFER).read_until(b'\n', &mut text)?;
    }
    Ok((text, descriptors))
}

/// The process before, which drains.
pub(super) struct Parent {
    stream: UnixStream,
}

impl Parent {
    /// Says that this process serves now.
    pub(super) fn ready(&mut self) -> io::Result<()> {
        writeln!(self.stream, "{READY}")
    }

    /// Waits for its end: how many writes it left open, where it could say so. Blocks.
    pub(super) fn end(self) -> Option<usize> {
        let mut said = String::new();
        BufReader::new(self.stream).take(LONGEST_OFFER).read_to_string(&mut said).ok()?;
        said.trim().parse().ok()
    }
}
