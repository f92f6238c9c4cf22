//! The least rights that do: a thread that has given all others up.

use af_xdp::classifier::Classifier;
use af_xdp::probe::{Capability, probe};
use af_xdp::{BindError, Socket, SocketSettings};

use crate::lab::Lab;
use crate::{CHUNKS, area, classifier, description, far_index};

use Capability::{Bpf, IpcLock, NetAdmin, NetRaw};

#[test]
fn four_capabilities_are_enough() {
    let Some(lab) = Lab::new() else { return };
    let (area, mut chunks) = area();
    lab.far(|| {
        keep_only(&[NetAdmin, NetRaw, IpcLock, Bpf]);
        let settings = SocketSettings::new(far_index(), 0);
        let socket = Socket::bind(&area, &settings, &mut chunks).unwrap();
        let (classifier, link) = classifier(far_index());
        classifier.serve(0, &socket).unwrap();
        link.detach().unwrap();
        chunks.extend(socket.into_chunks());
    });
    assert_eq!(chunks.len(), CHUNKS as usize);
}

#[test]
fn a_missing_capability_is_named() {
    let Some(lab) = Lab::new() else { return };
    lab.far(|| {
        keep_only(&[NetAdmin, IpcLock, Bpf]);
        let (area, mut chunks) = area();
        let settings = SocketSettings::new(far_index(), 0);
        let error = Socket::bind(&area, &settings, &mut chunks)
            .map(drop)
            .unwrap_err();
        assert!(matches!(error, BindError::NotPermitted), "{error}");
        assert!(probe().unwrap().af_xdp.is_err());
    });
    lab.far(|| {
        keep_only(&[NetAdmin, NetRaw, IpcLock]);
        let error = Classifier::load(&description(), 1).map(drop).unwrap_err();
        assert!(error.to_string().contains("CAP_BPF"), "{error}");
        assert!(probe().unwrap().bpf.is_err());
    });
    lab.far(|| {
        keep_only(&[NetRaw, IpcLock, Bpf]);
        let error = Classifier::load(&description(), 1).map(drop).unwrap_err();
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    });
}

/// Gives up every other capability of the calling thread.
fn keep_only(capabilities: &[Capability]) {
    /// `struct __user_cap_header_struct` and `__user_cap_data_struct`, version 3.
    #[repr(C)]
    struct Header {
        version: u32,
        thread: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let bits = capabilities
        .iter()
        .fold(0u64, |bits, one| bits | 1 << *one as u32);
    let half = |bits: u64| Sets {
        effective: bits as u32,
        permitted: bits as u32,
        inheritable: 0,
    };
    let header = Header {
        version: 0x2008_0522,
        thread: 0,
    };
    let sets = [half(bits), half(bits >> 32)];
    // SAFETY: version 3 reads one header and two of these structures.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
