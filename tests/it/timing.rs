//! What a failed login tells by the time it takes: nothing. The numbers are dials: see `tests/README.md`.

use std::{
    fs,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::support::{
    Dice, LDAP_ALICE, LDAP_BOB, Portcullis, Registry, Slapd, SlowRelay, Tls, dial, dialled, ldap_provider,
    service_secret,
};

const PASSWORD: &str = "the password of all";

/// What a login may fail for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unknown,
    /// The wrong password of a user whose hash is cheap.
    Cheap,
    /// The same of one whose hash is dear.
    Dear,
    /// Of one whom the second file has.
    Second,
    /// The right password of a disabled user.
    Disabled,
    /// A line without a hash.
    Locked,
    /// The wrong password of a user of the directory, which is asked last.
    Directory,
    /// The right password of one whom the directory does not let in.
    Barred,
    /// The right password of one whom the configuration does not let in.
    Banned,
}

const KINDS: [Kind; 9] = [
    Kind::Unknown,
    Kind::Cheap,
    Kind::Dear,
    Kind::Second,
    Kind::Disabled,
    Kind::Locked,
    Kind::Directory,
    Kind::Barred,
    Kind::Banned,
];

impl Kind {
    fn user(self) -> &'static str {
        match self {
            Self::Unknown => "a-stranger",
            Self::Cheap => "user-cheap",
            Self::Dear => "user-dear1",
            Self::Second => "second-one",
            Self::Disabled => "disabled-1",
            Self::Locked => "locked-one",
            Self::Directory => LDAP_ALICE.name,
            Self::Barred => "locked",
            Self::Banned => LDAP_BOB.name,
        }
    }

    fn password(self, number: u64) -> String {
        match self {
            Self::Disabled => PASSWORD.to_owned(),
            Self::Barred => "lockedpw".to_owned(),
            Self::Banned => LDAP_BOB.password.to_owned(),
            Self::Unknown | Self::Cheap | Self::Dear | Self::Second | Self::Locked | Self::Directory => {
                format!("guess number {number:06}")
            }
        }
    }
}

struct Sample {
    kind: Kind,
    took: Duration,
    /// All of the answer but its date.
    answer: (u16, Vec<(String, String)>, String),
}

#[test]
fn kinds_of_failure_are_answered_alike() {
    let registry = Registry::start();
    let scene = Scene::new(&registry);
    let samples = samples(&scene.gate, dialled("TIMING_LOGINS", 27), dialled("TIMING_AT_A_TIME", 4));
    for sample in &samples {
        assert_eq!(sample.answer, samples[0].answer, "{:?} and {:?}", sample.kind, samples[0].kind);
    }
    let worst = KINDS
        .iter()
        .enumerate()
        .flat_map(|(place, one)| KINDS[..place].iter().map(move |other| (*one, *other)))
        .map(|(one, other)| {
            let accuracy = accuracy(&samples, one, other);
            eprintln!("{one:?} from {other:?}: {accuracy:.1} %");
            accuracy
        })
        .fold(0.0, f64::max);
    #[allow(clippy::cast_precision_loss)]
    let most = dial("TIMING_MOST_PERCENT", 100) as f64;
    eprintln!("{} failed logins: at best {worst:.1} % are told apart", samples.len());
    assert!(worst <= most);
}

/// A gate in front of two password files and a directory.
struct Scene {
    gate: Portcullis,
    _directory: (Slapd, SlowRelay),
}

impl Scene {
    fn new(registry: &Registry) -> Self {
        let (cheap, dear) = (dial("TIMING_CHEAP", 4), dial("TIMING_DEAR", 6));
        let gate = Portcullis::before(registry)
            .with(|config| {
                config["identity"]["disabled_users"] = json!([Kind::Disabled.user(), Kind::Banned.user()]);
                config["limits"] = json!({ "failed_logins": null });
            })
            .start();
        let hash = |cost: u64| bcrypt::hash(PASSWORD, u32::try_from(cost).unwrap()).unwrap();
        let first = [(Kind::Cheap, hash(cheap)), (Kind::Dear, hash(dear)), (Kind::Disabled, hash(cheap))];
        let lines = |lines: &[(Kind, String)]| -> String {
            lines.iter().map(|(kind, hash)| format!("{}:{hash}\n", kind.user())).collect()
        };
        fs::write(gate.htpasswd(), lines(&first) + &lines(&[(Kind::Locked, "!".to_owned())])).unwrap();
        fs::write(gate.dir().join("second"), lines(&[(Kind::Second, hash(dear))])).unwrap();
        let slapd = Slapd::start(gate.pki());
        let relay = SlowRelay::to(slapd.ldaps_port(), Duration::from_millis(dial("TIMING_DIRECTORY_MS", 5)));
        let secret = service_secret(gate.dir());
        let mut ldap = ldap_provider(&[format!("ldaps://127.0.0.1:{}", relay.port())], &gate.pki().ca_file(), &secret);
        ldap["timeout"] = json!("10s");
        gate.until_it_says("is in force", || {
            gate.change_configuration(|config| {
                let others = [json!({ "htpasswd": { "file": "second" } }), json!({ "ldap": ldap })];
                config["identity"]["providers"].as_array_mut().unwrap().extend(others);
            });
        });
        Self { gate, _directory: (slapd, relay) }
    }
}

/// Failed logins of all kinds in random order.
fn samples(gate: &Portcullis, count: usize, at_a_time: usize) -> Vec<Sample> {
    let mut dice = Dice::new(dial("SEED", u64::from(std::process::id())));
    let mut kinds: Vec<Kind> = KINDS.iter().copied().cycle().take(count).collect();
    for place in (1..kinds.len()).rev() {
        kinds.swap(place, usize::try_from(dice.between(0, place as u64 + 1)).unwrap());
    }
    let (left, samples) = (Mutex::new(kinds.into_iter().enumerate()), Mutex::new(Vec::new()));
    let busy = KINDS.map(|_| Mutex::new(()));
    thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                let mut tls = Tls::connect(gate.pki(), gate.port(), "localhost");
                tls.patience(Duration::from_secs(120));
                loop {
                    let Some((number, kind)) = left.lock().unwrap().next() else { return };
                    let sample = sample_alone(gate, &mut tls, kind, number as u64, &busy);
                    samples.lock().unwrap().push(sample);
                }
            });
        }
    });
    samples.into_inner().unwrap()
}

/// Logins alike that are under way at a time are verified once, for which of them one did not wait from the beginning.
fn sample_alone(gate: &Portcullis, tls: &mut Tls, kind: Kind, number: u64, busy: &[Mutex<()>]) -> Sample {
    let alike = kind.password(number) == kind.password(number + 1);
    let place = KINDS.iter().position(|one| *one == kind).unwrap();
    let _alone = alike.then(|| busy[place].lock().unwrap());
    sample(gate, tls, kind, number)
}

fn sample(gate: &Portcullis, tls: &mut Tls, kind: Kind, number: u64) -> Sample {
    let login = STANDARD.encode(format!("{}:{}", kind.user(), kind.password(number)));
    let request = format!("GET /v2/ HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {login}\r\n\r\n", gate.host());
    let begun = Instant::now();
    tls.send(request);
    let mut answer = tls.answer(false).expect("an answer");
    let took = begun.elapsed();
    answer.headers.retain(|(name, _)| name != "date" && name != "x-request-id");
    Sample { kind, took, answer: (answer.status, answer.headers.clone(), answer.text()) }
}

/// How many of two kinds, in percent, the best threshold tells apart that was found in the other half of the samples.
fn accuracy(samples: &[Sample], one: Kind, other: Kind) -> f64 {
    let of = |kind: Kind| samples.iter().filter(move |sample| sample.kind == kind).map(|sample| sample.took);
    let halves = [0, 1].map(|half| -> Vec<(bool, Duration)> {
        let every_other = |kind: Kind| of(kind).skip(half).step_by(2);
        every_other(one).map(|took| (true, took)).chain(every_other(other).map(|took| (false, took))).collect()
    });
    let [first, second] = &halves;
    (judged(second, trained(first)) + judged(first, trained(second))) / 2.0
}

/// Above which time it is rather the first kind, or (false) the other one.
fn trained(samples: &[(bool, Duration)]) -> (Duration, bool) {
    let thresholds = samples.iter().flat_map(|(_, took)| [(*took, true), (*took, false)]);
    thresholds.max_by(|one, other| judged(samples, *one).total_cmp(&judged(samples, *other))).expect("samples")
}

/// The mean of both kinds' shares that are judged rightly, in percent.
fn judged(samples: &[(bool, Duration)], (threshold, above): (Duration, bool)) -> f64 {
    let share = |kind: bool| {
        let of_kind = samples.iter().filter(|(is, _)| *is == kind);
        let right = of_kind.clone().filter(|(_, took)| ((*took > threshold) == above) == kind).count();
        #[allow(clippy::cast_precision_loss)]
        let share = right as f64 / of_kind.count().max(1) as f64;
        share
    };
    (share(true) + share(false)) * 50.0
}
