//! Whole ESP packets of other people: draft-mcgrew-gcm-test-01 for AES-GCM (all 14 ESP packets,
//! with and without extended sequence numbers; the draft's values were checked against OpenSSL
//! when they were copied), RFC 3602 §4 for AES-CBC.

use super::hex;
use crate::esp::{Backend, Direction, EspJob, Integrity, KeySlot, Keymat, Keys, Suite, Verdict};
use crate::hash::Hash;

/// What the draft calls key, salt, SPI, sequence number, IV, ciphertext and ICV.
struct GcmPacket {
    keymat: &'static str,
    esn_high: Option<u32>,
    packet: &'static str,
    clear: &'static str,
}

// conformance: 4106-03 4106-04
#[test]
fn the_packets_of_the_gcm_draft_open() {
    for case in GCM_PACKETS {
        let keymat = hex(case.keymat);
        let suite = Suite::AesGcm16 {
            key_bits: 8 * (keymat.len() as u16 - 4),
        };
        let mut packet = hex(case.packet);
        let verdict = open(suite, &keymat, case.esn_high, &mut packet);
        assert_eq!(verdict, Verdict::Ok, "{}", case.packet);
        assert_eq!(packet[16..packet.len() - 16], hex(case.clear));
    }
}

#[test]
fn the_packets_of_the_gcm_draft_need_the_right_upper_half_of_the_sequence_number() {
    for case in GCM_PACKETS {
        let keymat = hex(case.keymat);
        let suite = Suite::AesGcm16 {
            key_bits: 8 * (keymat.len() as u16 - 4),
        };
        let wrong = case.esn_high.map_or(Some(0), |high| Some(high ^ 1));
        assert_eq!(
            open(suite, &keymat, wrong, &mut hex(case.packet)),
            Verdict::BadIcv
        );
    }
}

/// The packets of RFC 3602 have no ICV; one is appended here.
#[test]
fn the_packets_of_rfc_3602_open() {
    let suite = Suite::AesCbc {
        key_bits: 128,
        integrity: Integrity::HmacSha1_96,
    };
    for (key, packet, clear) in CBC_PACKETS {
        let integrity_key = [7; 20];
        let keymat = [hex(key), integrity_key.to_vec()].concat();
        let mut packet = hex(packet);
        let icv = Hash::Sha1.hmac(&integrity_key, &[&packet]);
        packet.extend_from_slice(&icv[..12]);

        assert_eq!(open(suite, &keymat, None, &mut packet), Verdict::Ok);
        assert_eq!(packet[24..packet.len() - 12], hex(clear));
    }
}

/// With every back end that this processor can run; all must agree.
fn open(suite: Suite, keymat: &[u8], esn_high: Option<u32>, packet: &mut [u8]) -> Verdict {
    let available = Backend::ALL
        .into_iter()
        .filter(|backend| backend.available());
    let results: Vec<_> = available
        .map(|backend| {
            let mut packet = packet.to_vec();
            let verdict = open_with(backend, suite, keymat, esn_high, &mut packet);
            (verdict, packet)
        })
        .collect();
    let (verdict, opened) = results[0].clone();
    for (other, packet) in &results[1..] {
        assert_eq!(*other, verdict);
        assert!(verdict != Verdict::Ok || *packet == opened);
    }
    packet.copy_from_slice(&opened);
    verdict
}

fn open_with(
    backend: Backend,
    suite: Suite,
    keymat: &[u8],
    esn_high: Option<u32>,
    packet: &mut [u8],
) -> Verdict {
    let mut keys = Keys::new(backend);
    let keymat = Keymat::new(suite, keymat).unwrap();
    keys.install(KeySlot(0), suite, Direction::Open, &keymat, &[0; 16]);
    let mut jobs = [EspJob {
        packet,
        slot: KeySlot(0),
        esn_high,
        verdict: Verdict::Pending,
    }];
    keys.open(suite, &mut jobs);
    jobs[0].verdict
}

const GCM_PACKETS: &[GcmPacket] = &[
    GcmPacket {
        keymat: "4c80cdefbb5d10da906ac73c3613a6342e443b68",
        esn_high: Some(0x87654321),
        packet: "00004321000000004956ed7e3b244cfefecf537e729d5b07dc30df528dd22b76\
                 8d1b98736696a6fd348509fa13ceac34cfa2436f14a3f3cf65925bf1f4a13c5d\
                 15b21e1884f5ff6247aeabb786b93bce61bc17d768fd9732459018148f6cbe72\
                 2fd04796562dfdb4",
        clear: "45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000\
                00000000045f736970045f756470037369700963796265726369747902646b00\
                0021000101020201",
    },
    GcmPacket {
        keymat: "feffe9928665731c6d6a8f9467308308cafebabe",
        esn_high: None,
        packet: "0000a5f80000000afacedbaddecaf888deb22cd9b07c72c16e3a65beeb8df304\
                 a5a5897d33ae530f1ba76d5d114d2a5c3de81827c10e9a4f51330d0eec416642\
                 cfbb85a5b47e48a4ec3b9ba95d918bd183b70d3aa8bc6ee4c309e9d85a41ad4a",
        clear: "4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d00100\
                0001000000000000037369700963796265726369747902646b00000100010001",
    },
    GcmPacket {
        keymat: "abbccddef00112233445566778899aababbccddef00112233445566778899aab\
                 11223344",
        esn_high: None,
        packet: "4a2cbfe3000000020102030405060708ff425c9b724599df7a3bcd510194e00d\
                 6a78107f1b0b1cbf06efae9d65a5d763748a637985771d347f0545659f14e99d\
                 ef842d8eb335f4eecfdbf831824b4c4915956c96",
        clear: "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee000000000\
                7002400020bf0000020405b40101040201020201",
    },
    GcmPacket {
        keymat: "0000000000000000000000000000000000000000",
        esn_high: None,
        packet: "000000000000000100000000000000004688daf2f973a392732909c331d56d60\
                 f694abaa414b5e7ff5fdcdfff5e9a284456476492719ffb64de7d9dca1e1d894\
                 bc3bd57873ed4d181d19d4d5c8c18af3f821d496eeb096e98ad2b69e4799c71d",
        clear: "4500003c99c500008001cb7a40679318010101010800075c0200440061626364\
                65666768696a6b6c6d6e6f707172737475767761626364656667686901020201",
    },
    GcmPacket {
        keymat: "3de09874b388e6491988d0c3607eae1f57690e43",
        esn_high: Some(0x10101010),
        packet: "42f67e3f101010104e280000a2fca1a3fba2caa4853cf9f0f22cb10d86dd83b0\
                 fec75691cf1a04b00d1138ec9c35791765acbd8701ad79845bf9fe3fba487bc9\
                 1755e6662b4c8d0d1f5e22739530320ae0d731cc978ecafaeae88f00e80d6e48",
        clear: "4500003c99c300008001cb7c40679318010101010800085c0200430061626364\
                65666768696a6b6c6d6e6f707172737475767761626364656667686901020201",
    },
    GcmPacket {
        keymat: "3de09874b388e6491988d0c3607eae1f57690e43",
        esn_high: Some(0x10101010),
        packet: "42f67e3f101010104e280000a2fca1a3fba2ca845e5df9f0f22c3e6e86dd831e\
                 1fc65792cd1af9130e1379ed369f071f35e034be95f112e4e7d05d35",
        clear: "4500001c42a200008001441f406793b6e00000020a00f5ff01020201",
    },
    GcmPacket {
        keymat: "feffe9928665731c6d6a8f9467308308feffe9928665731ccafebabe",
        esn_high: None,
        packet: "0000a5f80000000afacedbaddecaf888a5b1f8066029aea40e598b8122de0242\
                 0938b3ab33f828e687b8858b5bfbdbd0315b27452144cc7795457b9652037f53\
                 18027b5b4cd7a636",
        clear: "45000028a4ad4000400678800a01038f0a010612802306b8cb712602dd6bb03e\
                501016d075680001",
    },
    GcmPacket {
        keymat: "abbccddef00112233445566778899aabdecaf888",
        esn_high: Some(0x00000000),
        packet: "0000010000000001cafedebaceface7418a6fd42f72cbf4ab2a2ea901f73d814\
                 e3e7f243d95412e1c349c1d2fbec168f9190feebaf2cb01984e65863965d7472\
                 b79da345e0e780191f0d2f0e0f496c226f2127b27db35724e7845d68651f57e6\
                 5f354f75ff17015769623436",
        clear: "4500004933ba00007f119106c3fb1d10c2b1d326c02831ce0035dd7b800302d5\
                00004e20001e8c18d75b81dc91baa0476b91b924b280389d92c963bac046ec95\
                9b6266c04722b14923010101",
    },
    GcmPacket {
        keymat: "abbccddef00112233445566778899aababbccddef00112233445566778899aab\
                 73616c74",
        esn_high: Some(0x156f3126),
        packet: "17405e67dd0db99b616e640169766563f2d69ecdbd5a0d5b8d5ef38bad4da58d\
                 1f278fde98ef67549d524a3018d9a57ff4d3a31ce673119e451626c2415771e3\
                 b7eebca614c89b35",
        clear: "45080028732c00004006e9f90a0106120a01038f06b88023dd6bafbecb712602\
                50101f646d540001",
    },
    GcmPacket {
        keymat: "3de09874b388e6491988d0c3607eae1f57690e43",
        esn_high: Some(0x10101010),
        packet: "42f67e3f101010104e280000a2fca1a3fba2cad12fc1f9f00d3cebf305410db8\
                 3d7784b607323d220f24b0a97d54182800cadb0f68d99ef0e0c0c89ae9bea888\
                 4e52d65bc1afd0740f742444747b5b39ab533163aad4550ee5160975cdb608c5\
                 769189609763b8e18caa81e2",
        clear: "45000049333e00007f119182c3fb1d10c2b1d326c02831ce0035cb458003025b\
                000001e0001e8c18d65759d52284a0352c71475c8880391c764d6e5ee0496b32\
                5ae270c03899493915010101",
    },
    GcmPacket {
        keymat: "abbccddef00112233445566778899aababbccddef00112233445566778899aab\
                 73616c74",
        esn_high: Some(0x156f3126),
        packet: "17405e67dd0db99b616e640169766563d4b7ed86a1777f2ea13d6973d324c69e\
                 7b43f826fb56831226508bebd2dceb18d0a6df10e5487df074113e14c641024e\
                 3e6773d91a62ee429b043a10e3efe6b012a49363412364f8c0cac587f249e56b\
                 11e24f30e44ccc76",
        clear: "636973636f0172756c657301746865016e6574776501646566696e6501746865\
                746563686e6f6c6f67696573017468617477696c6c01646566696e65746f6d6f\
                72726f7701020201",
    },
    GcmPacket {
        keymat: "7d773d00c144c525ac619d18c84a3f47d9664267",
        esn_high: None,
        packet: "335467aeffffffff43457e9182443bc6437f866bcb3f699fe9b0822bac961c45\
                 04bef270",
        clear: "01020201",
    },
    GcmPacket {
        keymat: "abbccddef00112233445566778899aabdecaf888",
        esn_high: Some(0x00000000),
        packet: "0000010000000001cafedebaceface7429c9fc69a197d038ccdd14e2ddfcaa05\
                 43332164412503524303ed3c6c5f283843af8c3e",
        clear: "746f016265016f72016e6f7401746f0162650001",
    },
    GcmPacket {
        keymat: "6c6567616c697a656d6172696a75616e61616e64646f69746265666f72656961\
                 7475726e",
        esn_high: Some(0xffffffff),
        packet: "796b6963ffffffff333021696765746df97ab2aa356d8edce17644ac8c78e25d\
                 d24dedbb29ebf1b64a274b39b49c3a864cd3d78ca4ae68a32b42458fb57dbe82\
                 1dcc63b9d0937ba2945f669368661a329fb4c053",
        clear: "45000030da3a00008001df3bc0a80005c0a800010800c6cd0200070061626364\
                65666768696a6b6c6d6e6f707172737401020201",
    },
];

/// Key; SPI, sequence number, IV and ciphertext; what is in it.
const CBC_PACKETS: &[(&str, &str, &str)] = &[
    (
        "90d382b410eeba7ad938c46cec1a82bf",
        "0000432100000001e96e8c08ab465763fd098d45dd3ff893f663c25d325c18c6\
          a9453e194e120849a4870b66cc6b9965330013b4898dc856a4699e523a55db08\
          0b59ec3a8e4b7e52775b07d1db34ed9c538ab50c551b874aa269add047ad2d59\
          13ac19b7cfbad4a6",
        "08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f1011121314151617\
          18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637\
          0102030405060708090a0b0c0d0e0e01",
    ),
    (
        "90d382b410eeba7ad938c46cec1a82bf",
        "000043210000000869d08df7d203329db093fc4924e5bd80f51995881ec4e0c4\
          488987ce742e8109689bb379d2d750c0d915dca346a89f75",
        "0800b5e8a80a0500a69c083d0b660e0077777777777777777777777701020201",
    ),
    (
        "0123456789abcdef0123456789abcdef",
        "0000876500000002f4e765244f6407adf13dc1380f673f37773b5241a4c44922\
          5e4f3ce5ed611b0c237ca96cf74a93013c1b0ea1a0cf70f8e4ecaec78ac53aad\
          7a0f022b859243c647752e94a859352b8a4d4d2decd136e5c177f132ad3fbfb2\
          201ac9904c74ee0a109e0ca1e4dfe9d5a100b842f1c22f0d",
        "45000054090400004001f988c0a87b03c0a87bc808009f76a90a0100b49c083d\
          02a2040008090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223\
          2425262728292a2b2c2d2e2f30313233343536370102030405060708090a0a04",
    ),
    (
        "0123456789abcdef0123456789abcdef",
        "000087650000000585d47224b5f3dd5d2101d4ea8dffab2215b92683819596a8\
          047232cc00f7048fe45318e11f8a0f62ede3c3fc61203bb50f980a08c9843fd3\
          a1b06d5c07ff9639b7eb7dfb3512e5de435e7207ed971ef3d2726d9b5ef6affc\
          6d17a0decbb13892",
        "45000044090c00004001f990c0a87b03c0a87bc80800d63caa0a0200c69c083d\
          a3de0300ffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
          ffffffff0102030405060708090a0a04",
    ),
];
