//! RFC 5903 §8 for the curves; for the groups modulo a prime, which have no published vectors
//! for exponents as short as ours, answers computed with Python's `pow(g, x, p)`.

use super::*;
use crate::vectors::hex;

const EVERY_GROUP: [Group; 8] = [
    Group::Modp1024,
    Group::Modp1536,
    Group::Modp2048,
    Group::Modp3072,
    Group::Modp4096,
    Group::Ecp256,
    Group::Ecp384,
    Group::Toy,
];

struct Case {
    group: Group,
    random: &'static str,
    peer_random: &'static str,
    public: &'static str,
    shared: &'static str,
}

// conformance: 2409-12
#[test]
fn known_answers_come_out() {
    for case in CASES {
        let pair = KeyPair::generate(case.group, &random(case.random));
        let peer = KeyPair::generate(case.group, &random(case.peer_random));
        assert_eq!(pair.public(), hex(case.public), "{}", case.group);
        assert_eq!(
            pair.agree(peer.public()).unwrap().expose(),
            hex(case.shared),
            "{}",
            case.group
        );
        assert_eq!(
            peer.agree(pair.public()).unwrap().expose(),
            hex(case.shared),
            "{}",
            case.group
        );
    }
}

#[test]
fn both_sides_get_the_same_secret_and_every_length_is_the_groups() {
    for group in EVERY_GROUP {
        let (ours, theirs) = (
            KeyPair::generate(group, &[1; 64]),
            KeyPair::generate(group, &[200; 64]),
        );
        let shared = ours.agree(theirs.public()).unwrap();
        assert_eq!(shared, theirs.agree(ours.public()).unwrap(), "{group}");
        assert_ne!(ours.public(), theirs.public(), "{group}");
        assert_eq!(ours.public().len(), group.public_len(), "{group}");
        assert_eq!(shared.len(), group.secret_len(), "{group}");
    }
}

#[test]
fn any_random_bytes_make_a_key_pair() {
    for group in EVERY_GROUP {
        for byte in [0, 0xFF] {
            let pair = KeyPair::generate(group, &[byte; 64]);
            let peer = KeyPair::generate(group, &[7; 64]);
            assert!(peer.agree(pair.public()).is_ok(), "{group}, all {byte:#x}");
        }
    }
}

// conformance: 2409-12
#[test]
fn a_public_value_of_another_length_is_refused() {
    for group in EVERY_GROUP {
        let pair = KeyPair::generate(group, &[1; 64]);
        let public = KeyPair::generate(group, &[2; 64]).public;
        let longer = [&[0], &public[..]].concat();
        for peer in [&public[1..], &public[..public.len() - 1], &longer, &[]] {
            assert_eq!(
                pair.agree(peer),
                Err(BadPublicValue),
                "{group}, {} octets",
                peer.len()
            );
        }
        assert!(pair.agree(&public).is_ok(), "{group}");
    }
}

// conformance: 2409-13
#[test]
fn zero_one_and_what_is_not_below_p_minus_1_are_refused() {
    for group in EVERY_GROUP {
        // The curves end at another test; the toy group's prime ends otherwise.
        if matches!(group, Group::Ecp256 | Group::Ecp384 | Group::Toy) {
            continue;
        }
        let pair = KeyPair::generate(group, &[1; 64]);
        let number = |last: u8| {
            let mut bytes = vec![0; group.public_len()];
            *bytes.last_mut().unwrap() = last;
            bytes
        };
        let prime = prime(group);
        let below = |distance: u8| {
            let mut bytes = prime.clone();
            *bytes.last_mut().unwrap() -= distance;
            bytes
        };
        for (peer, is_good) in [
            (number(0), false),
            (number(1), false),
            (number(2), true),
            (below(2), true),
            (below(1), false),
            (below(0), false),
            (vec![0xFF; group.public_len()], false),
        ] {
            assert_eq!(pair.agree(&peer).is_ok(), is_good, "{group}, {peer:02x?}");
        }
    }
}

#[test]
fn what_is_not_on_the_curve_is_refused() {
    for group in [Group::Ecp256, Group::Ecp384] {
        let pair = KeyPair::generate(group, &[1; 64]);
        let mut public = KeyPair::generate(group, &[2; 64]).public;
        *public.last_mut().unwrap() ^= 1;
        for peer in [
            &public[..],
            &vec![0; group.public_len()],
            &vec![0xFF; group.public_len()],
        ] {
            assert_eq!(pair.agree(peer), Err(BadPublicValue), "{group}");
        }
    }
}

#[test]
fn the_jobs_of_initiator_and_responder_meet() {
    let group = Group::Toy;
    let Outcome::Generated(pair) = (Job::Generate {
        group,
        random: [3; 64],
    })
    .run() else {
        panic!("a job to generate gives a pair");
    };
    let peer = pair.public().to_vec();
    let exchange = Job::Exchange {
        group,
        random: [4; 64],
        peer,
    };
    let Outcome::Exchanged { public, shared } = exchange.run() else {
        panic!("the pair's public value is good");
    };
    let Outcome::Agreed(ours) = (Job::Agree {
        pair: pair.clone(),
        peer: public,
    })
    .run() else {
        panic!("the responder's public value is good");
    };
    assert_eq!(ours, shared);

    let bad = vec![0; 8];
    let exchange = Job::Exchange {
        group,
        random: [4; 64],
        peer: bad.clone(),
    };
    assert!(matches!(exchange.run(), Outcome::BadPublicValue));
    assert!(matches!(
        Job::Agree { pair, peer: bad }.run(),
        Outcome::BadPublicValue
    ));
}

#[test]
fn jobs_go_to_other_threads_and_print_no_secrets() {
    fn crosses_threads<T: Send + 'static>() {}
    crosses_threads::<Job>();
    crosses_threads::<Outcome>();
    let pair = KeyPair::generate(Group::Toy, &[0xAB; 64]);
    let printed = format!(
        "{:?} {:?} {:?}",
        Job::Generate {
            group: Group::Toy,
            random: [0xAB; 64]
        },
        Job::Agree {
            pair: pair.clone(),
            peer: vec![]
        },
        Outcome::Generated(pair),
    );
    assert_eq!(
        printed,
        "Generate(toy) Agree(toy) Generated(KeyPair(toy, …))"
    );
}

#[test]
fn groups_are_read_by_the_names_they_print_but_for_the_toy() {
    for group in Group::ALL {
        assert_eq!(group.to_string().parse(), Ok(group));
    }
    assert_eq!("toy".parse::<Group>(), Err(UnknownGroup));
    assert_eq!("modp768".parse::<Group>(), Err(UnknownGroup));
}

fn random(digits: &str) -> [u8; 64] {
    let mut random = hex(digits);
    random.resize(64, 0);
    random.try_into().unwrap()
}

/// Read back out of the group, through the only other thing that knows it.
fn prime(group: Group) -> Vec<u8> {
    match group {
        Group::Modp1024 => modp::MODP_1024.prime(),
        Group::Modp1536 => modp::MODP_1536.prime(),
        Group::Modp2048 => modp::MODP_2048.prime(),
        Group::Modp3072 => modp::MODP_3072.prime(),
        Group::Modp4096 => modp::MODP_4096.prime(),
        Group::Ecp256 | Group::Ecp384 | Group::Toy => unreachable!("has no such prime"),
    }
}

const CASES: &[Case] = &[
    // RFC 5903 §8.1.
    Case {
        group: Group::Ecp256,
        random: "C88F01F5 10D9AC3F 70A292DA A2316DE5 44E9AAB8 AFE84049 C62A9C57 862D1433",
        peer_random: "C6EF9C5D 78AE012A 011164AC B397CE20 88685D8F 06BF9BE0 B283AB46 476BEE53",
        public: "DAD0B653 94221CF9 B051E1FE CA5787D0 98DFE637 FC90B9EF 945D0C37 72581180
                 5271A046 1CDB8252 D61F1C45 6FA3E59A B1F45B33 ACCF5F58 389E0577 B8990BB3",
        shared: "D6840F6B 42F6EDAF D13116E0 E1256520 2FEF8E9E CE7DCE03 812464D0 4B9442DE",
    },
    // RFC 5903 §8.2.
    Case {
        group: Group::Ecp384,
        random: "099F3C70 34D4A2C6 99884D73 A375A67F 7624EF7C 6B3C0F16 0647B674 14DCE655
                 E35B5380 41E649EE 3FAEF896 783AB194",
        peer_random: "41CB0779 B4BDB85D 47846725 FBEC3C94 30FAB46C C8DC5060 855CC9BD A0AA2942
                      E0308312 916B8ED2 960E4BD5 5A7448FC",
        public: "667842D7 D180AC2C DE6F74F3 7551F557 55C7645C 20EF73E3 1634FE72 B4C55EE6
                 DE3AC808 ACB4BDB4 C88732AE E95F41AA 9482ED1F C0EEB9CA FC498462 5CCFC23F
                 65032149 E0E144AD A0241815 35A0F38E EB9FCFF3 C2C947DA E69B4C63 4573A81C",
        shared: "11187331 C279962D 93D60424 3FD592CB 9D0A926F 422E4718 7521287E 7156C5C4
                 D6031355 69B9E9D0 9CF5D4A2 70F59746",
    },
    Case {
        group: Group::Toy,
        random: "a000844fbf5fc45e",
        peer_random: "9185d239fd95e697",
        public: "6f9f68b9a62fd89e",
        shared: "71977649a33f0adb",
    },
    Case {
        group: Group::Modp1024,
        random: "ccc6924e33540b11a3a0e6131b07649fd8fc1b1d30cd83425396b4d977d7308d\
                 e1bcff177a3f16c50046ac9b936dc157d4d3216de5efda51c941e37fc89bc3a3",
        peer_random: "5b9295b38edb23d903d8481b3639a7f45bc48c7cf58e03392c74ef11b898f38a\
                      cc5a5464324b7e1ffb229b9c74b96231e06cf7cf16868e153673ea5e96e57c96",
        public: "109c0337a31a40f347cf0488bccefee70336d470246a59939283c01f0e8e9771\
                 bef1f864635bde6467c254b9c9ba33b133c98355ceb93c3b193970bfc005e0ed\
                 f4b5425ed00493eed009c69fc4bf6929aba6d421fcdddd6fc5525b5c989fb457\
                 fd1b0fbfec86f812b215e8bdf140dabcd00206d8eb3ee68bee4693425c59c420",
        shared: "d7e2374e60c2e89cdaf6e33ff0b9c0c5dfe1604857aa156acccc2f0dad9b84be\
                 f84d0823e150fd0f82aaa1002d550a1087b87c5513d5190991a89912fb2ef4e7\
                 504aed50795708b7a35d8cb2d32bf55ea8e2d2d6579d43164d11c1974e5c60b7\
                 06eaa43e582a8ccfb58e348d3ba3eadd96b139d5e1b5243e98131e15e03439c7",
    },
    Case {
        group: Group::Modp1536,
        random: "f93bb6bcc7440f45fcf06b8269beb948bb80060f1ac01cd29bb940259e0e72e8\
                 29350580625b4f33c5a047b1a2731cd30cf965a709bad233746271ec08fd9ebd",
        peer_random: "d21f704d870d1df1701e6a3e9ab97ecb3442ca58feaabf6e6b7b700db189db5f\
                      081f709a847dd672031e8feea8ea899951ecd2feda82eb5e52e73fd2f57314e6",
        public: "1d179ef5dc9aac405ae3d64ea92037c7b1745c873eac864fd98e09342cc7c6d7\
                 eeded1b26d759b55792490c7ea641f2fb7236562c9be76bd63428c661f496168\
                 e3a37277541eb66186d2c3cdde14293bd2d010710a782da178845e199cc35b88\
                 109b66904327e0d290df7bb81fe42f4f3c631ad390c6f4d2cf4d9f823cff858d\
                 888ff24afbc0137423684a559462e92d48b41687e3640e0cba969f416f55d56c\
                 453c4168960cfad23a09e80899fab7f8f7056c90f60e37666b108e1505060f4c",
        shared: "76a3655bca57f615712f51f21f432be494fdbafc141fe3b0fcb58251b190834c\
                 bbbb90d98afe50ef179d81ed0bbde67ae2abafeac052a297539f6976e0e8fd86\
                 7babc7e80fc578f7fb347d23ac557477428a77366cbcbf88ee797a52043bdb33\
                 d80f34aa9f17b8a6ba1bbb7b2729a5409a1b66b7da6a4efddc91b06d51946bd1\
                 d9326ef130f1b42a9f1476eb8103faaa224cf7af642765f91fa46f5ffd574a71\
                 847824099ca1c8902028bfbdada9e8bf5b3ecdfa14c12e936f0535b186c2413a",
    },
    Case {
        group: Group::Modp2048,
        random: "1b8caed27ec02baeca275a1d78454c6f62510aee50b901a0a4f28737a88a7b9e\
                 2e9f0768779e7889f990dd36097fe9616a077b015f1684498396d2715ed2dca8",
        peer_random: "c6a5b5ef00501f604499a300f9ce569bf5dc0535856dac615338d30f696d58d8\
                      df58d10bd33c93e89101ffe6a4206c64ef055c580f2cdde08c7c5b0cd6e01073",
        public: "ff603f54782811227880d42e3ae239d35e7d2680bcad656437ae66cb0f6a1370\
                 7cab4bd21b8ba9d1701346ddd11c7be70caf399eae28873c5c768758bc0f275d\
                 26ad76d78b9fd6c9bc01e9fc01bfcef3296768330961d950bf760a8c52653739\
                 ad97bcd5069fc82180bcca5a21a8c465c6bdb5ba8a15cd1793bc5100e17bc288\
                 bf320c2086b3584e6da2468926de5f560319f033a5851747e4de2cb30dc137a6\
                 387be67a8561c4356af1c1dd48c84bd7be08ec0f58046db0eb638ce8e06ea53a\
                 efe5e084c6c1318876d00e57af0fb77e3217dd588c881547b286472b10ff1542\
                 56b4c5b58c99bf1b2a87b304a076cf7bfe7ac34a7d6b13fbf64eccbb8001b706",
        shared: "d26f9df7b7a7a5d9aa0aceab9d1b54e650ea008903ae62e035b5d7c6d7db5d4d\
                 9e9431420720e6965d5b9f0f5bda7f31ed3d9d33c09a7246a9819994d44c81f3\
                 cda022158e4cd276cc3c00c1ac072f22329f220569a63f93de64ac51653a8859\
                 db4e29fe905aef27e3ed2a7e77890956baced939df7cba17d1ef84ac36569f2e\
                 a3cea50940ad481321e152563ce6035c4645012c5bf6a5abe9d00cdd4e90ee3d\
                 384964e860adbf8be18168db64b6e5b499528caea52fb6b04216ac0e339fb016\
                 ab85d950918a13dd7e820c9f8173378fd6c7cc358be9cb3628b3f5b6027c33c8\
                 66ab5865b088780a59ffe836f3970dedfd238e2da1810dac74010925c1243b55",
    },
    Case {
        group: Group::Modp3072,
        random: "03101e8b5b674c57cf7a9a67fd608a6034d1c8473f259fa99552ed0587471b65\
                 89d652ecb804346c759e038b7d4fb882c173497271d17b0352741533613b20db",
        peer_random: "7d6565c56037f39b38298efcd6d354c7d63120c885600f9f3634827714f71524\
                      687a58094bd52617c46b41e765f895d807edd51752d8e1ad542b462ac97ebf55",
        public: "a23e2a2cdc44246b6a84273291639d72caf901ed4702a78d586018776e51d0a7\
                 de6069e6e3c993fd085090a02d139b54c5457763c7c376195f2389b00d99d2d9\
                 76437d7c41cd95190cbe2febe8a1dbaca2f092447f50f1dbc59584698f085075\
                 27b06e3e5af4cc21dca2fef35f79dd70103f6b1f5574616b337e476c754e1a33\
                 38510faddeaaa048fd5f0f51a7c1ff6e8f06c10b1d6b71faee8a271d0f7e4dcc\
                 4526fa1f9615bc63a2f5abe5025c4813f5ac3641a7ba9df3198242427b761695\
                 5622a70e3ed98548f67261b1720f303bddda446658b10d17d307f41d85145218\
                 b2cf753b792cf421686c5421ed66edacdad8b661eba5935500e7289b45667f79\
                 484cde3222355a95569ac9c0cd6c6a5b8b7e82bd91d96656eea594d8d78fe24e\
                 f03b40d426dcd2a04252326e1149c0264f6d7fb114650f0973ac05f03b708b53\
                 cdfa2dc1c258f1d0e715f3161387f7f9486485a873163a65f29c113607bad073\
                 21225b257ea73c69af9ad4847694a671310722068bf433df382b6afacd0a3e1b",
        shared: "f059d43619c03116b584a72916b1b42cf7290d6a15131722ca56bc1dd650d1d1\
                 d5cc695be1ed5d4dbb7f91623e6ea9bf847471eb1a4c85c8f7af22c78917808d\
                 a0363ab7387a6994b75f61b7646244b9d3a68cf883b8a07bbb635ebeaf1d81a3\
                 1f1fb8f69072f9bc5af8d586cbe83c9efbbc0cc612423d3205268ee851487eb2\
                 3132294248b3a1fc30227a3c20f16256459c46af72cfcc01ae5e29f3cb887b84\
                 8349328db759c80320f0224700e376c1548d2e8f46bd4c1695a5f30668478491\
                 406c4c7f6131102ac11121fdd90b63e4bb3f571aef71da48c61d5701817479f0\
                 7f21ecd892c3d2dcd8bd06bfa47bebe0ad75f8454e89831327a18911151af716\
                 f12c380a9fd4a2636bfab45f3583053d7e59807dcb5acb1aa3b4002d8d75a2bc\
                 5eb27cb75c8675a8f00644607c4f962cbf975a3cf23c878b43a89093ed3352df\
                 1b86881d1b850741626d8cbf6bc454b59dc5d233492fe976d68dcdd66ca9cad4\
                 e3928f9b8353bb751dc979746c68727507471edbe75e90c966c0e2de5ddb65ee",
    },
    Case {
        group: Group::Modp4096,
        random: "96b9ed00180ca36736b646eca2f401e189e9651746247fb323a6dea6ef400351\
                 bae9a9e0808b833e760e613894e6b316bff2871c2a7db32784019f616171cb19",
        peer_random: "44e43f9ed0db86d0e838126a303c3b1fa33a667d8be72053f2628bb996a72e39\
                      e91abcb1c7aa951b5d029e045f82d9ada9cfa0772e5898c38601cc8b356bac32",
        public: "3df97827f181d91b796651fbdf2c1840aa7dd5db72d5289d49247bf6b3165bbb\
                 abf56633e53fb91343631d80e23afabe8c3af314608250d945d275ab7f7bea0c\
                 1e19f18964aaef3cb1534405f8c69c5eda62b873be228c0f20ce0896afd66cdf\
                 06455804404cb56c2af811b3b42683b2ac32458c68dade259ba3497ba0654185\
                 4f88404ef36b980ca3a7c67b7461900d6a38409b4607b2a87c9a134d5ef60420\
                 26d15c90fc1fc7bdd3eb5a96101693c9ee63d3c8263d5667ff79024143b66f2f\
                 17315d402ac2348692da87d7ddfbae809871c16826ca2e03d140b9d2477fabbc\
                 7e6dc7cae140e4912597a1d2752bd40d129248a794691b7dabd4fd80d9720213\
                 a068568cec6a3448ed4a839f52f504386122ced33368efab8b99455a01566fe0\
                 4c0238b8790d8ac78a7eef2403466d2a61a7edf264eb16307a51a5f4b94203a3\
                 4ae36d83892a3c0726b0f5d90ca1480699cedcbdd461facf5bca5432ad10a531\
                 f8460625d69ed676fe253bc49beb05c90f8cb92eb7b32546d885cbf61fe364f1\
                 ed17f8be86e1f7e43a12b4506bf7637a2a0c9ebc5769379a6962f12fdec1093c\
                 dcc58ce4fd5a6d9e7b59e4a85abebd5ed816d63c548a3fd861dcfc1bf39cde89\
                 31b1de1778d12ef61c4c1af420064c2958c3af050204a672aba818e9c97ccbcb\
                 d27f98b430fd5b9f61c4312cc6b68beb17024e3f2abeb3094c52be9ff79b658b",
        shared: "8f7f61f31fbc3f478f9871073ab2da953b742e9761aaafebcb9f48607759b96d\
                 c0de2862b2f0e7970225fbe8f022d1ac10dbaed6e1606361dfc55d8678d058db\
                 dc571172d54c3f33997d4e1b8413b6e53a8ad8d33ded9b75963e941016d4839f\
                 a7760c63a294bc684478acb1efc71f4aef7d9911386741d9338de82129b93921\
                 a12818d7c06e6a8ac246e0364b0c262a6411566b47b2bf398054ec31003d1edd\
                 0d328f597a90ca64ec82969b06ecbfeb0d410331ee323f65384c96afe6186cab\
                 b478f6426486cbab1f99128781b279e84f7026ec044b27b910c9b24360213d24\
                 571864ad1143e50038d3fa87330082372e627ac33376307f5a932908cdc13254\
                 768f45bf2aace902a6b937195835cc02a60cf4179a7ccc8ba1ce11f749d5d621\
                 b40548c16e34524236465e93594512ed45eecd0790ac252683374f32558d637a\
                 c136dc0ad45225c39a3948863aed01291760831e36bf037146973ba5bde835aa\
                 df3eb0a172f316ae5fce4a8c655ac2ea7d33c5bc679348f6a1b47479d851fa36\
                 1606d960bcfcad2a400aa713c27855f00b3c49c884795f5b89e82fca5e94eeea\
                 6c2f0228a9b3677c0fee55c33d51646cb407f1d9a7705ff9aea046d6a6ce6321\
                 bd85b180932bda911579209ba6eba6f28208c2e2c0d26cb9b3d9a1a8795ca28a\
                 561080e7f4da9e73f68b1412156a2ef72d804963d08adde38d8397f56bd9e8ea",
    },
    // Both begin with a zero octet.
    Case {
        group: Group::Modp2048,
        random: "9c51100efe9efba98baf27b7541b8ef9b1881581c496c32290cc7b22208e7ed7\
                 4dec97de0fa9c9285d5d3a01e9de1634950d74a5d353b17f585fbebb2ed3e2aa",
        peer_random: "cc2f92f535934dda7e6cc3692ce89df6921a922bb7788ef4be6df7c0c2e370cd\
                      be545eba25ed6293b6af39100dd3a98892192027d6fd428dd4f2c8c893e14ad7",
        public: "00600acec0e15e8e5d2c1751afdc29165ef3cccf26e6f9a15d284704467ba8a3\
                 5b37ec70742ab5c7b761d00513aab27bbb3b8021966ac213c5e22856e87b459e\
                 1afd1f0289a6ad1199b50bbd780def6577b70b583ec09f27e73d20e8a5bb09a4\
                 5a54e4d9ee680be9abefb067a086e10ecb5717cb456dc93fe04b570a980d98eb\
                 94cb360270d9dd70df0fbfc42197a1400d2a8a11a6ffd1e0e15d095797358e4f\
                 91a35bbacec25fa642c3fd601dca062a02d7e90e853702ae93177e311add0a5f\
                 174eda416f414e07f56154e192b814bda48f8b377475aedab70dbe56d5b59525\
                 fe573e0d618579f9225ca02330dc44934466b32f2960c0a9afce1f70670f4f9b",
        shared: "00dbbf1d928335904c07183def525573d12111c7c7d7185fc83e181e3e833506\
                 0d3d7d31ca409a641256e54e4a1cc4248224db2ce9372917ea253dfbd59ec477\
                 d6484c79df7c6b3f99baa271e52ae5dc02b982e095749653caf9ffcbfb676142\
                 718531ec5c57bdea36edcfd8bf14a179684702ea9b01b85b946007e38c287989\
                 8aa321995f33fdbdb1398c3a083f379f67a08a4057936039a8896ec2fa7ec3b1\
                 9693ad3ae9deed8b1a6bd19165da79e043bc4a9476e5827f913606a614c02ef0\
                 57c2674c4210539c7f561dbcf923e751829f17245751ef4c4926aa88352fd050\
                 0223765fe87b46885b0a8d920be4ec8f2f52afa27baede0e1f891e68c1ace975",
    },
];
