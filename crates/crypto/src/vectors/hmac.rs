//! HMAC: RFC 2202 for MD5 and SHA-1, RFC 4231 for SHA-2. A shorter digest is one that the RFC
//! truncates.

use super::hex;
use crate::hash::Hash;

struct Case {
    hash: Hash,
    key: &'static str,
    text: &'static str,
    digest: &'static str,
}

#[test]
fn every_case_of_the_rfcs_comes_out() {
    for case in CASES {
        let (key, text, digest) = (hex(case.key), hex(case.text), hex(case.digest));
        let whole = case.hash.hmac(&key, &[&text]);
        assert_eq!(whole.len(), case.hash.output_len());
        assert_eq!(
            whole[..digest.len()],
            digest,
            "{:?}, key {}",
            case.hash,
            case.key
        );

        let (head, tail) = text.split_at(text.len() / 3);
        assert_eq!(
            case.hash.hmac(&key, &[head, &[], tail]),
            whole,
            "parts are concatenated"
        );
    }
}

const CASES: &[Case] = &[
    Case {
        hash: Hash::Md5,
        key: "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
        text: "4869205468657265",
        digest: "9294727a3638bb1c13f48ef8158bfc9d",
    },
    Case {
        hash: Hash::Md5,
        key: "4a656665",
        text: "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
        digest: "750c783e6ab0b503eaa86e310a5db738",
    },
    Case {
        hash: Hash::Md5,
        key: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        text: "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\
               dddddddddddddddddddddddddddddddddddd",
        digest: "56be34521d144c88dbb8c733f0e8b3f6",
    },
    Case {
        hash: Hash::Md5,
        key: "0102030405060708090a0b0c0d0e0f10111213141516171819",
        text: "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\
               cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        digest: "697eaf0aca3a3aea3a75164746ffaa79",
    },
    Case {
        hash: Hash::Md5,
        key: "0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c",
        text: "546573742057697468205472756e636174696f6e",
        digest: "56461ef2342edc00f9bab995690efd4c",
    },
    Case {
        hash: Hash::Md5,
        key: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        text: "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a\
               65204b6579202d2048617368204b6579204669727374",
        digest: "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd",
    },
    Case {
        hash: Hash::Md5,
        key: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        text: "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a\
               65204b657920616e64204c6172676572205468616e204f6e6520426c6f636b2d\
               53697a652044617461",
        digest: "6f630fad67cda0ee1fb1f562db3aa53e",
    },
    Case {
        hash: Hash::Sha1,
        key: "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
        text: "4869205468657265",
        digest: "b617318655057264e28bc0b6fb378c8ef146be00",
    },
    Case {
        hash: Hash::Sha1,
        key: "4a656665",
        text: "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
        digest: "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
    },
    Case {
        hash: Hash::Sha1,
        key: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        text: "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\
               dddddddddddddddddddddddddddddddddddd",
        digest: "125d7342b9ac11cd91a39af48aa17b4f63f175d3",
    },
    Case {
        hash: Hash::Sha1,
        key: "0102030405060708090a0b0c0d0e0f10111213141516171819",
        text: "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\
               cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        digest: "4c9007f4026250c6bc8414f9bf50c86c2d7235da",
    },
    Case {
        hash: Hash::Sha1,
        key: "0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c",
        text: "546573742057697468205472756e636174696f6e",
        digest: "4c1a03424b55e07fe7f27be1d58bb9324a9a5a04",
    },
    Case {
        hash: Hash::Sha1,
        key: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        text: "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a\
               65204b6579202d2048617368204b6579204669727374",
        digest: "aa4ae5e15272d00e95705637ce8a3b55ed402112",
    },
    Case {
        hash: Hash::Sha1,
        key: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        text: "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a\
               65204b657920616e64204c6172676572205468616e204f6e6520426c6f636b2d\
               53697a652044617461",
        digest: "e8e99d0f45237d786d6bbaa7965c7808bbff1a91",
    },
    Case {
        hash: Hash::Sha256,
        key: "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
        text: "4869205468657265",
        digest: "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    },
    Case {
        hash: Hash::Sha384,
        key: "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
        text: "4869205468657265",
        digest: "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59c\
                 faea9ea9076ede7f4af152e8b2fa9cb6",
    },
    Case {
        hash: Hash::Sha512,
        key: "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
        text: "4869205468657265",
        digest: "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde\
                 daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
    },
    Case {
        hash: Hash::Sha256,
        key: "4a656665",
        text: "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
        digest: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    },
    Case {
        hash: Hash::Sha384,
        key: "4a656665",
        text: "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
        digest: "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e\
                 8e2240ca5e69e2c78b3239ecfab21649",
    },
    Case {
        hash: Hash::Sha512,
        key: "4a656665",
        text: "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
        digest: "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
    },
    Case {
        hash: Hash::Sha256,
        key: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        text: "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\
               dddddddddddddddddddddddddddddddddddd",
        digest: "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
    },
    Case {
        hash: Hash::Sha384,
        key: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        text: "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\
               dddddddddddddddddddddddddddddddddddd",
        digest: "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b\
                 2a5ab39dc13814b94e3ab6e101a34f27",
    },
    Case {
        hash: Hash::Sha512,
        key: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        text: "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\
               dddddddddddddddddddddddddddddddddddd",
        digest: "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39\
                 bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb",
    },
    Case {
        hash: Hash::Sha256,
        key: "0102030405060708090a0b0c0d0e0f10111213141516171819",
        text: "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\
               cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        digest: "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    },
    Case {
        hash: Hash::Sha384,
        key: "0102030405060708090a0b0c0d0e0f10111213141516171819",
        text: "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\
               cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        digest: "3e8a69b7783c25851933ab6290af6ca77a9981480850009cc5577c6e1f573b4e\
                 6801dd23c4a7d679ccf8a386c674cffb",
    },
    Case {
        hash: Hash::Sha512,
        key: "0102030405060708090a0b0c0d0e0f10111213141516171819",
        text: "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\
               cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        digest: "b0ba465637458c6990e5a8c5f61d4af7e576d97ff94b872de76f8050361ee3db\
                 a91ca5c11aa25eb4d679275cc5788063a5f19741120c4f2de2adebeb10a298dd",
    },
    Case {
        hash: Hash::Sha256,
        key: "0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c",
        text: "546573742057697468205472756e636174696f6e",
        digest: "a3b6167473100ee06e0c796c2955552b",
    },
    Case {
        hash: Hash::Sha384,
        key: "0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c",
        text: "546573742057697468205472756e636174696f6e",
        digest: "3abf34c3503b2a23a46efc619baef897",
    },
    Case {
        hash: Hash::Sha512,
        key: "0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c",
        text: "546573742057697468205472756e636174696f6e",
        digest: "415fad6271580a531d4179bc891d87a6",
    },
    Case {
        hash: Hash::Sha256,
        key: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaa",
        text: "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a\
               65204b6579202d2048617368204b6579204669727374",
        digest: "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    },
    Case {
        hash: Hash::Sha384,
        key: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaa",
        text: "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a\
               65204b6579202d2048617368204b6579204669727374",
        digest: "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c6\
                 0c2ef6ab4030fe8296248df163f44952",
    },
    Case {
        hash: Hash::Sha512,
        key: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaa",
        text: "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a\
               65204b6579202d2048617368204b6579204669727374",
        digest: "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352\
                 6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
    },
    Case {
        hash: Hash::Sha256,
        key: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaa",
        text: "5468697320697320612074657374207573696e672061206c6172676572207468\
               616e20626c6f636b2d73697a65206b657920616e642061206c61726765722074\
               68616e20626c6f636b2d73697a6520646174612e20546865206b6579206e6565\
               647320746f20626520686173686564206265666f7265206265696e6720757365\
               642062792074686520484d414320616c676f726974686d2e",
        digest: "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    },
    Case {
        hash: Hash::Sha384,
        key: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaa",
        text: "5468697320697320612074657374207573696e672061206c6172676572207468\
               616e20626c6f636b2d73697a65206b657920616e642061206c61726765722074\
               68616e20626c6f636b2d73697a6520646174612e20546865206b6579206e6565\
               647320746f20626520686173686564206265666f7265206265696e6720757365\
               642062792074686520484d414320616c676f726974686d2e",
        digest: "6617178e941f020d351e2f254e8fd32c602420feb0b8fb9adccebb82461e99c5\
                 a678cc31e799176d3860e6110c46523e",
    },
    Case {
        hash: Hash::Sha512,
        key: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
              aaaaaa",
        text: "5468697320697320612074657374207573696e672061206c6172676572207468\
               616e20626c6f636b2d73697a65206b657920616e642061206c61726765722074\
               68616e20626c6f636b2d73697a6520646174612e20546865206b6579206e6565\
               647320746f20626520686173686564206265666f7265206265696e6720757365\
               642062792074686520484d414320616c676f726974686d2e",
        digest: "e37b6a775dc87dbaa4dfa9f96e5e3ffddebd71f8867289865df5a32d20cdc944\
                 b6022cac3c4982b10d5eeb55c3e4de15134676fb6de0446065c97440fa8c6a58",
    },
];
