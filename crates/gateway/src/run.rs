//! `adit run`: from a checked configuration to a gateway on the kernel's sockets and interfaces,
//! step by step; whatever fails leaves nothing half-started.

use std::path::Path;

use af_xdp::Chunk;
use anyhow::Result;

use crate::admin;
use crate::assembly::{Around, Gateway, Inside, Orders, Ports, packet_memory, tun_mtu};
use crate::config::{Config, Io};
use crate::host::Host;
use crate::icmp::Icmp;
use crate::interfaces::Interfaces;
use crate::key_log::KeyLogFile;
use crate::port::{AnyPort, FIRST_INTERFACE, LetterBox, SOCKETS, Share, Sockets, TUN, Tun};
use crate::routes::{self, Routes};
use crate::signals::Signals;
use crate::slow_path::Adit0;
use crate::wake::Alarm;

/// Runs until a signal ends it.
pub(crate) fn run(config: Config, key_log: Option<&Path>) -> Result<()> {
    let signals = Signals::catch()?;
    let alarm = Alarm::new()?;
    let (socket, questions) = admin::serve(&config.socket, alarm.waker())?;
    let orders = Orders {
        alarm,
        signals,
        socket: Some(socket),
        questions,
        key_log: open_key_log(key_log)?,
    };
    let open = |around: &Around<'_>| open(&config, around);
    Gateway::assemble(&config, orders, open)?
        .serve()
        .map(|_| ())
}

fn open_key_log(path: Option<&Path>) -> Result<Option<KeyLogFile>> {
    let Some(path) = path else { return Ok(None) };
    tracing::warn!(
        file = %path.display(),
        "the keys of every tunnel are written to a file: whoever has it reads the traffic"
    );
    KeyLogFile::create(path).map(Some)
}

/// What `[gateway] io` asked for. `auto` takes XDP where interfaces are named for it and it
/// works.
fn open(config: &Config, around: &Around<'_>) -> Result<Inside> {
    let shared = around.shared;
    let (area, mut chunks) = packet_memory(config)?;
    let mtu = tun_mtu(config);
    // First what another gateway would have, so that it is not disturbed.
    let sockets = open_sockets(config, around.letters)?;
    let (workers, pools) = (config.workers.count, &config.control.pools);
    let host = Host::set_up(&config.tun, workers, mtu, pools)?;
    let adit0 = Some(Adit0 {
        queue: host.queues[0].try_clone()?,
        index: host.index,
    });
    let icmp = Some(Icmp::listen()?);
    let tun = |queue| AnyPort::Tun(Tun::new(TUN, queue, usize::from(mtu)));
    let queues = host.queues.into_iter().map(tun);
    let mut ports: Vec<Ports> = sockets
        .into_iter()
        .zip(queues)
        .map(|(sockets, tun)| vec![sockets, tun])
        .collect();
    let because = match config.io {
        Io::Sockets => "as configured".to_owned(),
        Io::Auto if config.ports.is_empty() => "no [[port]] names an interface for XDP".into(),
        Io::Auto | Io::Xdp | Io::XdpSkb => {
            match Interfaces::open(config, &area, &mut chunks, shared, &mut ports) {
                Ok(interfaces) => {
                    let outlets = interfaces.outlets.clone();
                    let routes = Routes::start(outlets, host.index, mtu, shared)?;
                    let name = if config.io == Io::XdpSkb {
                        "xdp-skb"
                    } else {
                        "xdp"
                    };
                    let io = format!("{name} ({})", interfaces.text);
                    let (interfaces, routes) = (Some(interfaces), Some(routes));
                    return Ok(Inside {
                        io,
                        ports,
                        chunks,
                        interfaces,
                        routes,
                        icmp,
                        adit0,
                    });
                }
                Err(error) if config.io == Io::Auto => {
                    close_interfaces(&mut ports, &mut chunks);
                    tracing::warn!("packets go through sockets: XDP does not work here: {error:#}");
                    format!("xdp does not work here: {error:#}")
                }
                Err(error) => return Err(error),
            }
        }
    };
    routes::leave_by_the_host(shared, mtu);
    let io = format!("sockets ({because})");
    Ok(Inside {
        io,
        ports,
        chunks,
        interfaces: None,
        routes: None,
        icmp,
        adit0,
    })
}

/// What was opened for XDP before something failed; its chunks are used otherwise.
fn close_interfaces(ports: &mut [Ports], chunks: &mut [Vec<Chunk>]) {
    for (ports, chunks) in ports.iter_mut().zip(chunks) {
        let opened = ports.drain(usize::from(FIRST_INTERFACE)..);
        chunks.extend(opened.flat_map(AnyPort::into_chunks));
    }
}

/// The sockets of each worker, which are there in every mode.
fn open_sockets(config: &Config, letters: &LetterBox) -> Result<Vec<AnyPort>> {
    let addresses: Vec<_> = config.control.listeners.iter().map(|l| l.address).collect();
    let workers = config.workers.count;
    let shares = (0..workers).map(|worker| Share { worker, workers });
    shares
        .map(|share| {
            Sockets::open(SOCKETS, &addresses, share, letters.clone()).map(AnyPort::Sockets)
        })
        .collect()
}
