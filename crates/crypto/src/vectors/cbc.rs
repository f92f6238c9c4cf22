//! CBC: RFC 3602 §4, and the multi-block message tests of NIST's validation suite (CAVS files
//! CBCMMT128/192/256 and TCBCMMT3).

use super::hex;
use crate::cipher::{Algorithm, Cbc};

struct Case {
    algorithm: Algorithm,
    key: &'static str,
    iv: &'static str,
    clear: &'static str,
    sealed: &'static str,
}

#[test]
fn every_case_comes_out_in_both_directions() {
    for case in CASES {
        let (clear, sealed) = (hex(case.clear), hex(case.sealed));
        let cipher = Cbc::new(case.algorithm, &hex(case.key)).unwrap();

        let mut bytes = clear.clone();
        cipher.encrypt(&hex(case.iv), &mut bytes);
        assert_eq!(bytes, sealed, "{:?}, key {}", case.algorithm, case.key);

        cipher.decrypt(&hex(case.iv), &mut bytes);
        assert_eq!(bytes, clear, "{:?}, key {}", case.algorithm, case.key);
    }
}

const CASES: &[Case] = &[
    Case {
        algorithm: Algorithm::Aes128Cbc,
        key: "06a9214036b8a15b512e03d534120006",
        iv: "3dafba429d9eb430b422da802c9fac41",
        clear: "53696e676c6520626c6f636b206d7367",
        sealed: "e353779c1079aeb82708942dbe77181a",
    },
    Case {
        algorithm: Algorithm::Aes128Cbc,
        key: "c286696d887c9aa0611bbb3e2025a45a",
        iv: "562e17996d093d28ddb3ba695a2e6f58",
        clear: "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        sealed: "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
    },
    Case {
        algorithm: Algorithm::Aes128Cbc,
        key: "6c3ea0477630ce21a2ce334aa746c2cd",
        iv: "c782dc4c098c66cbd9cd27d825682c81",
        clear: "5468697320697320612034382d62797465206d65737361676520286578616374\
                6c7920332041455320626c6f636b7329",
        sealed: "d0a02b3836451753d493665d33f0e8862dea54cdb293abc7506939276772f8d5\
                 021c19216bad525c8579695d83ba2684",
    },
    Case {
        algorithm: Algorithm::Aes128Cbc,
        key: "56e47a38c5598974bc46903dba290349",
        iv: "8ce82eefbea0da3c44699ed7db51b7d9",
        clear: "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf\
                c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf",
        sealed: "c30e32ffedc0774e6aff6af0869f71aa0f3af07a9a31a9c684db207eb0ef8e4e\
                 35907aa632c3ffdf868bb7b29d3d46ad83ce9f9a102ee99d49a53e87f4c3da55",
    },
    Case {
        algorithm: Algorithm::Aes128Cbc,
        key: "90d382b410eeba7ad938c46cec1a82bf",
        iv: "e96e8c08ab465763fd098d45dd3ff893",
        clear: "08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f1011121314151617\
                18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637\
                0102030405060708090a0b0c0d0e0e01",
        sealed: "f663c25d325c18c6a9453e194e120849a4870b66cc6b9965330013b4898dc856\
                 a4699e523a55db080b59ec3a8e4b7e52775b07d1db34ed9c538ab50c551b874a\
                 a269add047ad2d5913ac19b7cfbad4a6",
    },
    Case {
        algorithm: Algorithm::Aes128Cbc,
        key: "90d382b410eeba7ad938c46cec1a82bf",
        iv: "69d08df7d203329db093fc4924e5bd80",
        clear: "0800b5e8a80a0500a69c083d0b660e0077777777777777777777777701020201",
        sealed: "f51995881ec4e0c4488987ce742e8109689bb379d2d750c0d915dca346a89f75",
    },
    Case {
        algorithm: Algorithm::Aes128Cbc,
        key: "0123456789abcdef0123456789abcdef",
        iv: "f4e765244f6407adf13dc1380f673f37",
        clear: "45000054090400004001f988c0a87b03c0a87bc808009f76a90a0100b49c083d\
                02a2040008090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223\
                2425262728292a2b2c2d2e2f30313233343536370102030405060708090a0a04",
        sealed: "773b5241a4c449225e4f3ce5ed611b0c237ca96cf74a93013c1b0ea1a0cf70f8\
                 e4ecaec78ac53aad7a0f022b859243c647752e94a859352b8a4d4d2decd136e5\
                 c177f132ad3fbfb2201ac9904c74ee0a109e0ca1e4dfe9d5a100b842f1c22f0d",
    },
    Case {
        algorithm: Algorithm::Aes128Cbc,
        key: "0123456789abcdef0123456789abcdef",
        iv: "85d47224b5f3dd5d2101d4ea8dffab22",
        clear: "45000044090c00004001f990c0a87b03c0a87bc80800d63caa0a0200c69c083d\
                a3de0300ffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
                ffffffff0102030405060708090a0a04",
        sealed: "15b92683819596a8047232cc00f7048fe45318e11f8a0f62ede3c3fc61203bb5\
                 0f980a08c9843fd3a1b06d5c07ff9639b7eb7dfb3512e5de435e7207ed971ef3\
                 d2726d9b5ef6affc6d17a0decbb13892",
    },
    Case {
        algorithm: Algorithm::Aes128Cbc,
        key: "1f8e4973953f3fb0bd6b16662e9a3c17",
        iv: "2fe2b333ceda8f98f4a99b40d2cd34a8",
        clear: "45cf12964fc824ab76616ae2f4bf0822",
        sealed: "0f61c4d44c5147c03c195ad7e2cc12b2",
    },
    Case {
        algorithm: Algorithm::Aes128Cbc,
        key: "b6f9afbfe5a1562bba1368fc72ac9d9c",
        iv: "3f9d5ebe250ee7ce384b0d00ee849322",
        clear: "db397ec22718dbffb9c9d13de0efcd4611bf792be4fce0dc5f25d4f577ed8cdb\
                d4eb9208d593dda3d4653954ab64f05676caa3ce9bfa795b08b67ceebc923fdc\
                89a8c431188e9e482d8553982cf304d1",
        sealed: "10ea27b19e16b93af169c4a88e06e35c99d8b420980b058e34b4b8f132b13766\
                 f72728202b089f428fecdb41c79f8aa0d0ef68f5786481cca29e2126f69bc141\
                 60f1ae2187878ba5c49cf3961e1b7ee9",
    },
    Case {
        algorithm: Algorithm::Aes128Cbc,
        key: "2c14413751c31e2730570ba3361c786b",
        iv: "1dbbeb2f19abb448af849796244a19d7",
        clear: "40d930f9a05334d9816fe204999c3f82a03f6a0457a8c475c94553d1d116693a\
                dc618049f0a769a2eed6a6cb14c0143ec5cccdbc8dec4ce560cfd20622570932\
                6d4de7948e54d603d01b12d7fed752fb23f1aa4494fbb00130e9ded4e77e37c0\
                79042d828040c325b1a5efd15fc842e44014ca4374bf38f3c3fc3ee327733b0c\
                8aee1abcd055772f18dc04603f7b2c1ea69ff662361f2be0a171bbdcea1e5d3f",
        sealed: "6be8a12800455a320538853e0cba31bd2d80ea0c85164a4c5c261ae485417d93\
                 effe2ebc0d0a0b51d6ea18633d210cf63c0c4ddbc27607f2e81ed9113191ef86\
                 d56f3b99be6c415a4150299fb846ce7160b40b63baf1179d19275a2e83698376\
                 d28b92548c68e06e6d994e2c1501ed297014e702cdefee2f656447706009614d\
                 801de1caaf73f8b7fa56cf1ba94b631933bbe577624380850f117435a0355b2b",
    },
    Case {
        algorithm: Algorithm::Aes192Cbc,
        key: "ba75f4d1d9d7cf7f551445d56cc1a8ab2a078e15e049dc2c",
        iv: "531ce78176401666aa30db94ec4a30eb",
        clear: "c51fc276774dad94bcdc1d2891ec8668",
        sealed: "70dd95a14ee975e239df36ff4aee1d5d",
    },
    Case {
        algorithm: Algorithm::Aes192Cbc,
        key: "0fd39de83e0be77a79c8a4a612e3dd9c8aae2ce35e7a2bf8",
        iv: "7e1d629b84f93b079be51f9a5f5cb23c",
        clear: "38fbda37e28fa86d9d83a4345e419dea95d28c7818ff25925db6ac3aedaf0a86\
                154e20a4dfcc5b1b4192895393e5eb5846c88bdbd41ecf7af3104f410eaee470\
                f5d9017ed460475f626953035a13db1f",
        sealed: "edadae2f9a45ff3473e02d904c94d94a30a4d92da4deb6bcb4b0774472694571\
                 842039f21c496ef93fd658842c735f8a81fcd0aa578442ab893b18f606aed1ba\
                 b11f81452dd45e9b56adf2eccf4ea095",
    },
    Case {
        algorithm: Algorithm::Aes192Cbc,
        key: "162ad50ee64a0702aa551f571dedc16b2c1b6a1e4d4b5eee",
        iv: "24408038161a2ccae07b029bb66355c1",
        clear: "be8abf00901363987a82cc77d0ec91697ba3857f9e4f84bd79406c138d02698f\
                003276d0449120bef4578d78fecabe8e070e11710b3f0a2744bd52434ec70015\
                884c181ebdfd51c604a71c52e4c0e110bc408cd462b248a80b8a8ac06bb952ac\
                1d7faed144807f1a731b7febcaf7835762defe92eccfc7a9944e1c702cffe6bc\
                86733ed321423121085ac02df8962bcbc1937092eebf0e90a8b20e3dd8c244ae",
        sealed: "c82cf2c476dea8cb6a6e607a40d2f0391be82ea9ec84a537a6820f9afb997b76\
                 397d005424faa6a74dc4e8c7aa4a8900690f894b6d1dca80675393d2243adac7\
                 62f159301e357e98b724762310cd5a7bafe1c2a030dba46fd93a9fdb89cc132c\
                 a9c17dc72031ec6822ee5a9d99dbca66c784c01b0885cbb62e29d97801927ec4\
                 15a5d215158d325f9ee689437ad1b7684ad33c0d92739451ac87f39ff8c31b84",
    },
    Case {
        algorithm: Algorithm::Aes256Cbc,
        key: "6ed76d2d97c69fd1339589523931f2a6cff554b15f738f21ec72dd97a7330907",
        iv: "851e8764776e6796aab722dbb644ace8",
        clear: "6282b8c05c5c1530b97d4816ca434762",
        sealed: "6acc04142e100a65f51b97adf5172c41",
    },
    Case {
        algorithm: Algorithm::Aes256Cbc,
        key: "9adc8fbd506e032af7fa20cf5343719de6d1288c158c63d6878aaf64ce26ca85",
        iv: "11958dc6ab81e1c7f01631e9944e620f",
        clear: "c7917f84f747cd8c4b4fedc2219bdbc5f4d07588389d8248854cf2c2f89667a2\
                d7bcf53e73d32684535f42318e24cd45793950b3825e5d5c5c8fcd3e5dda4ce9\
                246d18337ef3052d8b21c5561c8b660e",
        sealed: "9c99e68236bb2e929db1089c7750f1b356d39ab9d0c40c3e2f05108ae9d0c30b\
                 04832ccdbdc08ebfa426b7f5efde986ed05784ce368193bb3699bc691065ac62\
                 e258b9aa4cc557e2b45b49ce05511e65",
    },
    Case {
        algorithm: Algorithm::Aes256Cbc,
        key: "48be597e632c16772324c8d3fa1d9c5a9ecd010f14ec5d110d3bfec376c5532b",
        iv: "d6d581b8cf04ebd3b6eaa1b53f047ee1",
        clear: "0c63d413d3864570e70bb6618bf8a4b9585586688c32bba0a5ecc1362fada74a\
                da32c52acfd1aa7444ba567b4e7daaecf7cc1cb29182af164ae5232b00286869\
                5635599807a9a7f07a1f137e97b1e1c9dabc89b6a5e4afa9db5855edaa575056\
                a8f4f8242216242bb0c256310d9d329826ac353d715fa39f80cec144d6424558\
                f9f70b98c920096e0f2c855d594885a00625880e9dfb734163cecef72cf030b8",
        sealed: "fc5873e50de8faf4c6b84ba707b0854e9db9ab2e9f7d707fbba338c6843a18fc\
                 6facebaf663d26296fb329b4d26f18494c79e09e779647f9bafa87489630d79f\
                 4301610c2300c19dbf3148b7cac8c4f4944102754f332e92b6f7c5e75bc6179e\
                 b877a078d4719009021744c14f13fd2a55a2b9c44d18000685a845a4f632c7c5\
                 6a77306efa66a24d05d088dcd7c13fe24fc447275965db9e4d37fbc9304448cd",
    },
    Case {
        algorithm: Algorithm::TripleDesCbc,
        key: "b5cb1504802326c73df186e3e352a20de643b0d63ee30e37",
        iv: "43f791134c5647ba",
        clear: "dcc153cef81d6f24",
        sealed: "92538bd8af18d3ba",
    },
    Case {
        algorithm: Algorithm::TripleDesCbc,
        key: "ef6d3e54266d978ffb0b8ce6689d803e2cd34cc802fd0252",
        iv: "38bae5bce06d0ad9",
        clear: "c4f228b537223cd01c0debb5d9d4e12ba71656618d119b2f8f0af29d23efa3a9\
                e43c4c458a1b79a0",
        sealed: "9e3289fb18379f55aa4e45a7e0e6df160b33b75f8627ad0954f8fdcb78cee55a\
                 4664caeda1000fe5",
    },
    Case {
        algorithm: Algorithm::TripleDesCbc,
        key: "9b162a0df8ad9b61c88676e3d586434570b902f12a2046e0",
        iv: "ebd6fefe029ad54b",
        clear: "f4c1c918e77355c8156f0fd778da52bff121ae5f2f44eaf4d2754946d0e10d1f\
                18ce3a0176e69c18b7d20b6e0d0bee5eb5edfe4bd60e4d92adcd86bce72e76f9\
                4ee5cbcaa8b01cfddcea2ade575e66ac",
        sealed: "1ff3c8709f403a8eff291aedf50c010df5c5ff64a8b205f1fce68564798897a3\
                 90db16ee0d053856b75898009731da290fcc119dad987277aacef694872e880c\
                 4bb41471063fae05c89f25e4bd0cad6a",
    },
    Case {
        algorithm: Algorithm::TripleDesCbc,
        key: "5eb6040d46082c7aa7d06dfd08dfeac8c18364c1548c3ba1",
        iv: "41746c7e442d3681",
        clear: "d4f00eb455de1034",
        sealed: "c53a7b0ec40600fe",
    },
    Case {
        algorithm: Algorithm::TripleDesCbc,
        key: "34e68f58ecc71f4ad504e0b6e085a7c71c9bd38610737949",
        iv: "dfee6ce5d36b2c3d",
        clear: "fb5c4ad0525832b2d3594981b920c65c1029ddfa054d271c5a99a853f4b6de5d\
                6da41d8bdc2c7ede",
        sealed: "374ec363fa84e7e7e2ae011427b79d5852923557452c52827c9ff4eb92a83457\
                 075b28954015070f",
    },
    Case {
        algorithm: Algorithm::TripleDesCbc,
        key: "524a01b30ddf377afdbc0779625807383b9bb952a86849f4",
        iv: "69f4af59fe96e79d",
        clear: "d56fa31c1db2978fa11c1dae70252a168b8193f1e0438e723aaf446dad2f5e49\
                0a4b53d7bd08e308e030187428ca5f554cb6dbd46f4b68677f4496098d23412c\
                0f8863379e9f8330813836b8d48c987e",
        sealed: "889d82d2961d440ea1089dec8713884f32cf5a06ca159a4b29a812909016267c\
                 98df65306bd95ece33d3b53cd3797625d678a841a4e226d7fcd3aa809e552b2d\
                 4881696be4e7c6e60030572c7e023bb4",
    },
];
