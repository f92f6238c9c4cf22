//! Intel's ipsec-mb: AES-GCM through its direct functions, CBC with HMAC through its job manager, which
//! works on the packets of a burst beside each other.
//!
//! The library is opened when it is asked for, as Debian's libipsec-mb1 has it; who has not got it is
//! told so once, and is without this column. It promises that what is declared here keeps its place
//! within one major version, which is part of the name of the file.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use libloading::{Library, Symbol};

use crate::{Anchor, Cipher, GCM_ICV, HEADER, Hash, Suite, gcm_parts};

const FILE: &str = "libIPSec_MB.so.1";
const NAME: &str = "ipsec-mb";

pub(crate) fn ipsec_mb(suite: &Suite) -> Option<Box<dyn Anchor>> {
    static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
    let library = LIBRARY.get_or_init(open_library).as_ref()?;
    let manager = Manager::new(library)?;
    Some(match suite.cipher {
        Cipher::AesGcm => Box::new(Gcm::new(manager, suite)),
        Cipher::AesCbc | Cipher::TripleDesCbc => Box::new(Cbc::new(manager, suite)),
    })
}

#[allow(unsafe_code)]
fn open_library() -> Option<Library> {
    // SAFETY: what the library does when it is loaded is detect the processor.
    let library = unsafe { Library::new(FILE) };
    library
        .inspect_err(|error| eprintln!("no figures of {NAME}: {error} (Debian: libipsec-mb1)"))
        .ok()
}

type JobCall = unsafe extern "C" fn(*mut Table) -> *mut Job;
type OneBlock = unsafe extern "C" fn(*const u8, *mut u8);
type GcmCall = unsafe extern "C" fn(
    *const GcmKey,
    *mut GcmContext,
    *mut u8,
    *const u8,
    u64,
    *const u8,
    *const u8,
    u64,
    *mut u8,
    u64,
);

/// `IMB_MGR` as far as it is wanted. Those of three are for keys of 128, 192 and 256 bits.
#[repr(C)]
struct Table {
    flags: u64,
    features: u64,
    reserved: [u64; 5],
    used_arch: u32,
    errno: c_int,
    get_next_job: JobCall,
    submit_job: JobCall,
    submit_job_nocheck: usize,
    get_completed_job: usize,
    flush_job: JobCall,
    queue_size: usize,
    expand_key: [unsafe extern "C" fn(*const u8, *mut u8, *mut u8); 3],
    cmac_and_xcbc: [usize; 2],
    des_key_schedule: unsafe extern "C" fn(*mut u64, *const u8) -> c_int,
    sha1_one_block: OneBlock,
    sha224_one_block: usize,
    sha256_one_block: OneBlock,
    other_hashes_and_cfb: [usize; 9],
    gcm_seal: [GcmCall; 3],
    gcm_open: [GcmCall; 3],
    gcm_by_pieces: [usize; 18],
    gcm_prepare: [unsafe extern "C" fn(*const u8, *mut GcmKey); 3],
}

/// `IMB_JOB`.
#[repr(C)]
struct Job {
    enc_keys: *const c_void,
    dec_keys: *const c_void,
    key_len: u64,
    src: *const u8,
    dst: *mut u8,
    cipher_offset: u64,
    cipher_len: u64,
    hash_offset: u64,
    hash_len: u64,
    iv: *const u8,
    iv_len: u64,
    tag: *mut u8,
    tag_len: u64,
    inner: *const u8,
    outer: *const u8,
    unused_by_hmac: u64,
    status: c_int,
    cipher_mode: c_int,
    direction: c_int,
    hash: c_int,
    order: c_int,
    user_data: [*mut c_void; 2],
    functions: [usize; 2],
    sgl_state: c_int,
    next_iv: *mut c_void,
}

// As intel-ipsec-mb.h of version 1.3 has them.
const _: () = assert!(offset_of!(Table, get_next_job) == 64);
const _: () = assert!(offset_of!(Table, sha256_one_block) == 176);
const _: () = assert!(offset_of!(Table, gcm_seal) == 256);
const _: () = assert!(offset_of!(Table, gcm_prepare) == 448);
const _: () = assert!(offset_of!(Job, tag) == 88);
const _: () = assert!(offset_of!(Job, order) == 144);
const _: () = assert!(size_of::<Job>() == 200);

/// Values of the library's enumerations.
mod value {
    use std::ffi::c_int;

    pub(super) const COMPLETED: c_int = 3;
    pub(super) const AES_CBC: c_int = 1;
    pub(super) const TRIPLE_DES: c_int = 10;
    pub(super) const ENCRYPT: c_int = 1;
    pub(super) const DECRYPT: c_int = 2;
    pub(super) const HMAC_SHA1: c_int = 1;
    pub(super) const HMAC_SHA256: c_int = 3;
    pub(super) const CIPHER_FIRST: c_int = 1;
    pub(super) const HASH_FIRST: c_int = 2;
}

/// `gcm_key_data`.
#[repr(C, align(64))]
struct GcmKey([u8; 16 * (15 + 48)]);

/// `gcm_context_data`, which is smaller.
#[repr(C, align(64))]
struct GcmContext([u8; 256]);

/// A manager and what it has under way.
struct Manager {
    table: *mut Table,
    free: unsafe extern "C" fn(*mut Table),
}

impl Manager {
    #[allow(unsafe_code)]
    fn new(library: &'static Library) -> Option<Self> {
        type Alloc = unsafe extern "C" fn(u64) -> *mut Table;
        type Init = unsafe extern "C" fn(*mut Table, *mut c_int);
        type Free = unsafe extern "C" fn(*mut Table);
        // SAFETY: these are the functions' types in intel-ipsec-mb.h; the library is never closed.
        let (alloc, init, free): (Symbol<'_, Alloc>, Symbol<'_, Init>, Symbol<'_, Free>) = unsafe {
            (
                library.get(b"alloc_mb_mgr").ok()?,
                library.get(b"init_mb_mgr_auto").ok()?,
                library.get(b"free_mb_mgr").ok()?,
            )
        };
        // SAFETY: no flags, and a table that is initialised before anybody else has it.
        let table = unsafe {
            let table = alloc(0);
            (!table.is_null()).then(|| {
                init(table, null_mut());
                table
            })
        };
        Some(Self {
            table: table?,
            free: *free,
        })
    }

    #[allow(unsafe_code)]
    fn table(&self) -> &Table {
        // SAFETY: `table` is valid until `drop`, and its functions do not change after `new`.
        unsafe { &*self.table }
    }
}

impl Drop for Manager {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: it came from the library's `alloc_mb_mgr`, and nobody has it any more.
        unsafe { (self.free)(self.table) }
    }
}

/// Place of a key's length among 128, 192 and 256 bits.
fn place(key: &[u8]) -> usize {
    key.len() / 8 - 2
}

struct Gcm {
    seal: GcmCall,
    open: GcmCall,
    key: Box<GcmKey>,
    context: Box<GcmContext>,
    salt: Vec<u8>,
    /// Its functions are in use.
    _manager: Manager,
}

impl Gcm {
    #[allow(unsafe_code)]
    fn new(manager: Manager, suite: &Suite) -> Self {
        let (table, place) = (manager.table(), place(&suite.key));
        let mut key = Box::new(GcmKey([0; 16 * (15 + 48)]));
        // SAFETY: the function at this place reads as many octets as the key has, and fills `key`.
        unsafe { table.gcm_prepare[place](suite.key.as_ptr(), &mut *key) };
        Self {
            seal: table.gcm_seal[place],
            open: table.gcm_open[place],
            key,
            context: Box::new(GcmContext([0; 256])),
            salt: suite.salt.clone(),
            _manager: manager,
        }
    }

    /// In place; the tag that belongs to it goes into `tag`.
    #[allow(unsafe_code)]
    fn run(
        &mut self,
        call: GcmCall,
        parts: (&[u8], &[u8; 12], &mut [u8]),
        tag: &mut [u8; GCM_ICV],
    ) {
        let (aad, nonce, text) = parts;
        let first = text.as_mut_ptr();
        // SAFETY: key and context are as `gcm_prepare` wants them; `first` is valid for as many octets as
        // the text has, and source and destination may be the same; nonce and tag have 12 and 16 octets.
        unsafe {
            call(
                &*self.key,
                &mut *self.context,
                first,
                first,
                text.len() as u64,
                nonce.as_ptr(),
                aad.as_ptr(),
                aad.len() as u64,
                tag.as_mut_ptr(),
                GCM_ICV as u64,
            );
        }
    }
}

impl Anchor for Gcm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn seal(&mut self, packets: &mut [&mut [u8]]) {
        for packet in packets {
            let mut tag = [0; GCM_ICV];
            let (aad, nonce, body) = gcm_parts(packet, &self.salt);
            let (text, icv) = body.split_at_mut(body.len() - GCM_ICV);
            self.run(self.seal, (&aad, &nonce, text), &mut tag);
            icv.copy_from_slice(&tag);
        }
    }

    fn open(&mut self, packets: &mut [&mut [u8]]) -> usize {
        let mut authentic = 0;
        for packet in packets {
            let mut tag = [0; GCM_ICV];
            let (aad, nonce, body) = gcm_parts(packet, &self.salt);
            let (text, icv) = body.split_at_mut(body.len() - GCM_ICV);
            self.run(self.open, (&aad, &nonce, text), &mut tag);
            authentic += usize::from(is_equal(&tag, icv));
        }
        authentic
    }
}

/// Without telling by its time where the difference is.
fn is_equal(expected: &[u8], received: &[u8]) -> bool {
    openssl::memcmp::eq(&expected[..received.len()], received)
}

/// Octets of the largest hash that the library puts out.
const TAG: usize = 64;
/// Packets of a burst that it is asked for at once, at most.
const BURST: usize = 128;

struct Cbc {
    manager: Manager,
    keys: Box<CbcKeys>,
    suite: Suite,
    iv_len: usize,
    tags: Box<[[u8; TAG]; BURST]>,
}

/// Round keys and hash states, where the library wants them.
#[repr(C, align(64))]
struct CbcKeys {
    enc: [u8; 16 * 15],
    dec: [u8; 16 * 15],
    des: [[u64; 16]; 3],
    des_places: [*const u64; 3],
    inner: [u8; 64],
    outer: [u8; 64],
}

impl Cbc {
    #[allow(unsafe_code)]
    fn new(manager: Manager, suite: &Suite) -> Self {
        let table = manager.table();
        let mut keys = Box::new(CbcKeys {
            enc: [0; 16 * 15],
            dec: [0; 16 * 15],
            des: [[0; 16]; 3],
            des_places: [null(); 3],
            inner: [0; 64],
            outer: [0; 64],
        });
        if suite.cipher == Cipher::TripleDesCbc {
            for (schedule, key) in keys.des.iter_mut().zip(suite.key.chunks_exact(8)) {
                // SAFETY: a key of 8 octets, and a schedule of 128.
                unsafe { (table.des_key_schedule)(schedule.as_mut_ptr(), key.as_ptr()) };
            }
            keys.des_places = [0, 1, 2].map(|place| keys.des[place].as_ptr());
        } else {
            let expand = table.expand_key[place(&suite.key)];
            // SAFETY: reads a key of that length, and fills at most 15 round keys each way.
            unsafe {
                expand(
                    suite.key.as_ptr(),
                    keys.enc.as_mut_ptr(),
                    keys.dec.as_mut_ptr(),
                );
            }
        }
        let one_block = match suite.hash {
            Some(Hash::Sha256) => table.sha256_one_block,
            Some(Hash::Sha1) | None => table.sha1_one_block,
        };
        for (pad, state) in [(0x36, &mut keys.inner), (0x5c, &mut keys.outer)] {
            let mut block = [pad; 64];
            block
                .iter_mut()
                .zip(&suite.hash_key)
                .for_each(|(b, k)| *b ^= k);
            // SAFETY: reads a block of 64 octets, and writes a state of at most 32.
            unsafe { one_block(block.as_ptr(), state.as_mut_ptr()) };
        }
        let iv_len = if suite.cipher == Cipher::TripleDesCbc {
            8
        } else {
            16
        };
        Self {
            manager,
            keys,
            suite: suite.clone(),
            iv_len,
            tags: Box::new([[0; TAG]; BURST]),
        }
    }

    /// What all jobs of the SA have alike.
    fn describe(&self, job: &mut Job, is_sealed: bool) {
        let keys: *const CbcKeys = &*self.keys;
        job.key_len = self.suite.key.len() as u64;
        match self.suite.cipher {
            Cipher::TripleDesCbc => {
                job.cipher_mode = value::TRIPLE_DES;
                job.enc_keys = self.keys.des_places.as_ptr().cast();
                job.dec_keys = job.enc_keys;
            }
            Cipher::AesCbc | Cipher::AesGcm => {
                job.cipher_mode = value::AES_CBC;
                job.enc_keys = keys.wrapping_byte_add(offset_of!(CbcKeys, enc)).cast();
                job.dec_keys = keys.wrapping_byte_add(offset_of!(CbcKeys, dec)).cast();
            }
        }
        job.hash = match self.suite.hash {
            Some(Hash::Sha256) => value::HMAC_SHA256,
            Some(Hash::Sha1) | None => value::HMAC_SHA1,
        };
        (job.direction, job.order) = match is_sealed {
            true => (value::ENCRYPT, value::CIPHER_FIRST),
            false => (value::DECRYPT, value::HASH_FIRST),
        };
        job.inner = self.keys.inner.as_ptr();
        job.outer = self.keys.outer.as_ptr();
        job.iv_len = self.iv_len as u64;
        job.tag_len = self.suite.icv_len as u64;
    }

    /// All packets of a burst at once; says how many the library took for well done.
    #[allow(unsafe_code)]
    fn run(&mut self, packets: &mut [&mut [u8]], is_sealed: bool) -> usize {
        let (table, manager) = (self.manager.table(), self.manager.table);
        let text_at = HEADER + self.iv_len;
        let mut done = 0;
        let mut count = |job: *mut Job| {
            // SAFETY: the library gives back null, or a job that stays in its place until the next call.
            done +=
                usize::from(unsafe { job.as_ref() }.is_some_and(|j| j.status == value::COMPLETED));
            !job.is_null()
        };
        for (number, packet) in packets.iter_mut().enumerate() {
            let (len, first) = (packet.len() - self.suite.icv_len, packet.as_mut_ptr());
            let tag = self.tags[number].as_mut_ptr();
            // SAFETY: there are fewer jobs under way than the manager has. Pointers and lengths are of the
            // packet, the keys and the tags, none of which moves before the burst has been flushed.
            unsafe {
                let job = (table.get_next_job)(manager);
                self.describe(&mut *job, is_sealed);
                let job = &mut *job;
                job.src = first;
                job.dst = first.add(text_at);
                job.cipher_offset = text_at as u64;
                job.cipher_len = (len - text_at) as u64;
                job.hash_offset = 0;
                job.hash_len = len as u64;
                job.iv = first.add(HEADER);
                job.tag = if is_sealed { first.add(len) } else { tag };
                count((table.submit_job)(manager));
            }
        }
        // SAFETY: a manager of ours, until it has no more.
        while count(unsafe { (table.flush_job)(manager) }) {}
        done
    }
}

impl Anchor for Cbc {
    fn name(&self) -> &'static str {
        NAME
    }

    fn seal(&mut self, packets: &mut [&mut [u8]]) {
        for burst in packets.chunks_mut(BURST) {
            self.run(burst, true);
        }
    }

    fn open(&mut self, packets: &mut [&mut [u8]]) -> usize {
        let mut authentic = 0;
        for burst in packets.chunks_mut(BURST) {
            if self.run(burst, false) != burst.len() {
                return 0;
            }
            let received = burst
                .iter()
                .map(|packet| &packet[packet.len() - self.suite.icv_len..]);
            let both = self.tags.iter().zip(received);
            authentic += both.filter(|(tag, icv)| is_equal(&tag[..], icv)).count();
        }
        authentic
    }
}
