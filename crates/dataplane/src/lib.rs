//! The fast path: two straight lines of rooms over a batch of frames.
//!
//! ```text
//!             ┌────────┐  ┌────────┐  ┌────────────┐  ┌───────────┐  ┌────────────┐  ┌────────┐
//!  upstream   │ rx     │─►│ link   │─►│ esp::open  │─►│ l2tp::    │─►│ ppp::strip │─►│ ip::   │─► tx
//!             │ batch  │  │ sort   │  │            │  │   decap   │  │            │  │forward │
//!             └────────┘  └───┬────┘  └─────┬──────┘  └─────┬─────┘  └─────┬──────┘  └───┬────┘
//!                             ▼ punt IKE    ▼ Replayed      ▼ punt control ▼ punt LCP…    ▼ TtlExpired
//!  downstream  tx ◄─ link::address ◄─ esp::seal ◄─ l2tp::encap ◄─ ppp::frame ◄─ ip::route ◄─ link ◄─ rx
//! ```
//!
//! A frame leaves a line in one of three ways: it is *discarded* and counted by name, *punted*
//! (copied) to the slow path, or *moved* to another stop: another room, line or worker. No room
//! allocates, locks, logs, calls the system or reads the clock.
//!
//! **The two lines**: this file. A `batch` walks through the rooms `link`, `esp`, `l2tp`, `ppp` and
//! `ip`, which look things up in `tables`.
//!
//! **The express lane**: `express`. Who is as usual in everything passes all rooms in one go; the
//! rooms are for everybody else, and say what is right for both.
//!
//! `ahead` asks for what the next batch will look up while this one is in the cipher, `police` and
//! `compat` say how much is too much, and [`Stage`] names the stretches whose cycles are counted.
//!
//! **State**: [`change`] is the whole vocabulary between the planes; a `shard` is what a worker
//! owns, [`Shared`] what all of them read; [`id`] says how an id carries its place. `supply` makes
//! the memory they are in, so that no worker waits for it. What packets of the lane count is published
//! by `shard::ledger`: at once when a worker has a moment, else once a second.
//!
//! **The worker**: [`Worker::turn`] is one step; [`mesh`] makes the [rings](ring) between workers
//! and slow path; [`counters`] and [`discard`] say what happened.
//!
//! **The outside**: [`port`] is what a worker sends and receives by, [`memory`] such a port in
//! memory, [`wire`] what surrounds the canonical frame on Ethernet.

mod ahead;
mod batch;
mod bucket;
pub mod change;
mod compat;
pub mod cookie;
pub mod counters;
mod depot;
pub mod discard;
mod esp;
mod express;
pub mod id;
mod ip;
mod l2tp;
mod link;
pub mod memory;
pub mod mesh;
mod police;
pub mod port;
mod ppp;
mod replay;
pub mod ring;
mod shard;
mod shared;
mod stages;
mod supply;
mod tables;
#[cfg(test)]
mod tests;
pub mod wire;
mod worker;

pub use counters::WorkerCounters;
pub use discard::Discard;
pub use shared::{Limits, PathView, SaView, SessionView, Shared, Snapshot, Target};
pub use stages::Stage;
pub use worker::{Settings, Turn, Worker};

use ahead::Ahead;
use batch::{Batch, Room};
use port::Port;
use tables::Tables;

/// Subscriber to network: the lane, then the rooms for those who left it. Behind the cipher all
/// rooms are passed in one walk: what one has looked up is at hand in the next.
fn upstream<P: Port>(batch: &mut Batch<P::Chunk>, tables: &mut Tables, ahead: &mut Ahead<'_, P>) {
    express::upstream(batch, tables, ahead);
    if batch.guests() == 0 {
        return;
    }
    batch.board(Room::Open, tables);
    esp::open(batch, tables, ahead);
    batch.board(Room::Decap, tables);
    batch.board(Room::Strip, tables);
    batch.walk(|frame| {
        if frame.room != Room::Strip {
            l2tp::decap(frame, tables)?;
        }
        let session = tables.shards.session(Room::Strip, frame.slot)?;
        ppp::strip(frame, session, tables.now_ms)?;
        let leaving = ip::vouch(frame, session, tables.now_ms)?;
        ip::forward(frame, leaving, tables)
    });
    batch.arrive(tables);
}

/// Network to subscriber.
fn downstream<P: Port>(batch: &mut Batch<P::Chunk>, tables: &mut Tables, ahead: &mut Ahead<'_, P>) {
    express::downstream(batch, tables, ahead);
    if batch.guests() == 0 {
        return;
    }
    batch.board(Room::Route, tables);
    batch.walk(|frame| ip::route(frame, tables));
    batch.board(Room::Frame, tables);
    batch.board(Room::Encap, tables);
    batch.walk(|frame| {
        if frame.room == Room::Encap {
            let session = tables.shards.session(Room::Encap, frame.slot)?;
            return l2tp::encap(frame, session);
        }
        let session = tables.shards.session(Room::Frame, frame.slot)?;
        ppp::frame(frame, session, tables.now_ms)?;
        l2tp::encap(frame, session)
    });
    batch.board(Room::Seal, tables);
    batch.walk(|frame| {
        esp::prepare(frame, tables)?;
        link::address(frame, tables)
    });
    esp::seal(batch, tables, ahead);
    batch.arrive(tables);
}
