//! From the model and the costs to what has to be bought.
//!
//! ```text
//!   subscribers ─► bit/s ─► packets/s ─► wire rate ─► link
//!                              │ × cost
//!                              ▼
//!                          busy cores ─► a ring and a worker, simulated ─► workers
//!   sessions ─► set-ups/s ─► RADIUS, slow path ─► a storm, simulated ─► compute threads
//!       └─────► memory, addresses
//! ```

mod slow_path;
mod traffic;
mod workers;

use anyhow::Result;

use super::costs::Costs;
use super::model::{Access, Model};
use super::quantity::{Book, Quantity, Source, Unit};
use super::storm::Recovery;
use slow_path::Setups;
pub use workers::Trial;

/// Shards, each with its share of the subscribers, as in `crates/dataplane`.
const SHARDS: usize = 64;
/// Sessions for which there are slots: 64 shards of 4 096.
const SLOTS: f64 = 262_144.0;
/// Octets of a chunk of packet memory.
const CHUNK: f64 = 2048.0;

/// What can run out, and how much of it is used.
#[derive(Clone, Debug)]
pub struct Limit {
    /// What it is.
    pub title: &'static str,
    /// The figure that says how much of it is used.
    pub figure: &'static str,
    /// The same, as a share.
    pub used: f64,
}

/// Everything that was found.
#[derive(Debug)]
pub struct Plan {
    /// All numbers.
    pub book: Book,
    /// What can run out, the fullest first.
    pub limits: Vec<Limit>,
    /// Numbers of workers, in the order in which they were tried; the last is the one taken.
    pub trials: Vec<Trial>,
    /// The storm, with the threads taken.
    pub recovery: Recovery,
}

/// Makes a plan.
pub fn plan(model: &Model, costs: &Costs) -> Result<Plan> {
    let mut sizing = Sizing {
        model,
        costs,
        book: Book::default(),
        limits: Vec::new(),
    };
    let sessions = sizing.sessions();
    let traffic = sizing.traffic(&sessions);
    let trials = sizing.workers(&sessions, &traffic)?;
    sizing.links(&traffic);
    let setups = sizing.setups(&sessions)?;
    let recovery = sizing.storm(&sessions, &setups);
    sizing.memory(&sessions);
    sizing.addresses(&sessions, &setups);
    sizing.radius(&sessions, &setups);
    sizing.cores();
    sizing.limits.sort_by(|a, b| b.used.total_cmp(&a.used));
    sizing.headroom();
    Ok(Plan {
        book: sizing.book,
        limits: sizing.limits,
        trials,
        recovery,
    })
}

struct Sizing<'p> {
    model: &'p Model,
    costs: &'p Costs,
    book: Book,
    limits: Vec<Limit>,
}

impl<'p> Sizing<'p> {
    /// Gives a result a name.
    fn note(&mut self, name: &str, title: &str, unit: Unit, found: Quantity) -> Quantity {
        self.book.note(name, title, unit, found)
    }

    /// Ways to come in and their shares, which add up to 1.
    fn accesses(&self) -> impl Iterator<Item = (&'p Access, Quantity)> + use<'p> {
        let model = self.model;
        let shares = model.access_shares().into_iter();
        let source = model.list("access.share");
        let quantities = shares.map(move |share| Quantity::of(share, "", source.clone()));
        model.access.iter().zip(quantities)
    }

    /// Octets of inner packets and their shares, which add up to 1.
    fn sizes(&self) -> impl Iterator<Item = (usize, Quantity)> + use<'p> {
        let model = self.model;
        let shares = model.size_shares().into_iter();
        let source = model.list("traffic.size");
        let quantities = shares.map(move |share| Quantity::of(share, "", source.clone()));
        model.sizes.iter().map(|size| size.octets).zip(quantities)
    }

    fn sessions(&mut self) -> Quantity {
        let count = self.model.quantity("subscribers.count");
        let online = self.model.quantity("subscribers.online");
        let title = "sessions in the busy hour";
        self.book
            .note("sessions", title, Unit::Count, count.times(&online).ceil())
    }

    fn limit(&mut self, figure: &'static str, title: &'static str, used: Quantity) {
        let used = self
            .book
            .note(figure, &format!("use of {title}"), Unit::Share, used);
        self.limits.push(Limit {
            title,
            figure,
            used: used.value(),
        });
    }

    fn memory(&mut self, sessions: &Quantity) {
        let each = self.accesses();
        let each = each.map(|(access, share)| share.times(&self.costs.memory(access.is_plain())));
        let each = sum(each.collect::<Vec<_>>());
        let each = self.note("session_octets", "octets of a session", Unit::Octets, each);
        let all = sessions.times(&each);
        let all = self.note("session_memory", "memory of sessions", Unit::Octets, all);
        let chunk = constant(CHUNK, "octets a chunk", "[memory] chunk_size of a gateway");
        let chunks = self.model.quantity("gateway.chunks");
        let packets = self.named("workers").times(&chunks).times(&chunk);
        let packets = self.note("packet_memory", "memory of packets", Unit::Octets, packets);
        let title = "memory, without the program and the kernel";
        let memory = self.note("memory", title, Unit::Octets, all.plus(&packets));
        if self.model.value("gateway.memory_gib") > 0.0 {
            let gib = constant((1u64 << 30) as f64, "octets/GiB", "a GiB has 2³⁰ octets");
            let there = self.model.quantity("gateway.memory_gib").times(&gib);
            self.limit("memory_use", "memory", memory.over(&there));
        }
        let who = "64 shards of 4 096 slots, as Adit is built";
        let used = sessions.over(&constant(SLOTS, "slots", who));
        self.limit("slot_use", "the slots for sessions", used);
    }

    fn addresses(&mut self, sessions: &Quantity, setups: &Setups) {
        let resting = setups
            .rate
            .times(&self.model.quantity("gateway.quarantine"));
        let needed = sessions.plus(&resting).ceil();
        let title = "addresses: those in use, and those that rest after use";
        let needed = self.note("addresses", title, Unit::Count, needed);
        let bits = needed.value().max(1.0).log2().ceil().min(32.0);
        let label = format!(
            "– ⌈log₂ {}⌉: the smallest prefix that holds them",
            needed.value()
        );
        let source = Source::Figure("addresses".to_owned());
        let all = constant(32.0, "bits", "RFC 791 §2.3: an address has 32 bits");
        let prefix = Quantity::of(-bits, &label, source);
        self.note(
            "prefix",
            "length of a prefix for them",
            Unit::Count,
            all.plus(&prefix),
        );
        if self.model.value("gateway.addresses") > 0.0 {
            let there = self.model.quantity("gateway.addresses");
            self.limit("address_use", "the address pools", needed.over(&there));
        }
    }

    fn cores(&mut self) {
        let [workers, compute] = ["workers", "compute_threads"].map(|name| self.named(name));
        let who = "one thread owns all protocol state, as Adit is built";
        let protocol = constant(1.0, "protocol thread", who);
        let title = "cores";
        let cores = workers.plus(&compute).plus(&protocol);
        let cores = self.note("cores", title, Unit::Count, cores);
        if self.model.value("gateway.cores") > 0.0 {
            let there = self.model.quantity("gateway.cores");
            self.limit("core_use", "the cores", cores.over(&there));
        }
    }

    /// How many sessions there could be before the first thing is full.
    fn headroom(&mut self) {
        let Some(first) = self.limits.first().cloned() else {
            return;
        };
        let title = format!("how many times the load fills the first: {}", first.title);
        let one = constant(1.0, "", "all of it");
        let used = self.named(first.figure);
        self.book
            .note("headroom", &title, Unit::Amount, one.over(&used));
    }

    /// A figure that has been found.
    fn named(&self, name: &str) -> Quantity {
        let value = self.book.figure(name).map_or(0.0, |figure| figure.value);
        Quantity::of(value, &format!("[{name}]"), Source::Figure(name.to_owned()))
    }
}

fn constant(value: f64, label: &str, who: &str) -> Quantity {
    Quantity::of(value, label, Source::Constant(who.to_owned()))
}

fn nanoseconds() -> Quantity {
    constant(1e9, "ns/s", "a second has 10⁹ ns")
}

/// The sum of what is not empty.
fn sum(terms: impl IntoIterator<Item = Quantity>) -> Quantity {
    let mut terms = terms.into_iter();
    let first = terms.next().expect("a model has sizes and ways to come in");
    Quantity::sum(first, terms)
}
