use std::path::Path;

use control::settings::Beyond;

use super::*;

const SMALL: &str = r#"
[[listener]]
name = "remote-access"
address = "10.9.0.2"
psk = [{ secret = "lab-psk" }]
auth = ["mschapv2", "chap", "pap"]
pool = "main"
[[pool]]
name = "main"
addresses = "10.77.0.0/24"
gateway = "10.77.0.1"
dns = "192.0.2.53"
[[user]]
name = "alice"
password = "wonder-land"
"#;

#[test]
fn a_small_configuration_is_enough() {
    let config = read(SMALL).unwrap();
    let listener = &config.control.listeners[0];
    assert!(
        listener.ipsec_required,
        "IPsec is required unless it is said otherwise"
    );
    assert_eq!(listener.ike.as_ref().unwrap().psks.len(), 1);
    assert_eq!(config.control.users[0].name, "alice");
    assert_eq!(config.io, Io::Auto);
    assert_eq!(config.workers.idle, Idle::Park);
}

#[test]
fn what_only_the_whole_file_shows_is_found_too() {
    let text = SMALL.replace("pool = \"main\"", "pool = \"mian\"") + "sessions = 2\nroom = 5\n";
    let faults = read(&text).unwrap_err();
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let no_pool = "test.toml:7: listener[0].pool: there is no pool \"mian\"";
    assert!(texts.iter().any(|text| text == no_pool), "{texts:?}");
    assert!(
        texts.iter().any(|t| t.contains("user[0].room")),
        "{texts:?}"
    );
}

#[test]
fn a_policer_has_a_rate_and_a_burst_of_a_tenth_of_a_second_unless_it_is_said() {
    let config = read(
        &(SMALL.to_owned()
            + "up_kbit_per_second = 8000\ndown_kbit_per_second = 8000\ndown_burst_octets = 4000\n"),
    )
    .unwrap();
    let [user] = &config.control.users[..] else {
        panic!("one user");
    };
    let burst = |rate: Option<dataplane::change::Rate>| rate.map(|r| (r.bits_per_second, r.burst));
    assert_eq!(burst(user.up), Some((8_000_000, 100_000)));
    assert_eq!(burst(user.down), Some((8_000_000, 4000)));
    let faults = read(&(SMALL.to_owned() + "up_burst_octets = 4000\n")).unwrap_err();
    assert_eq!(faults[0].key, "user[0].up_burst_octets");
}

#[test]
fn the_share_of_3des_is_a_quarter_unless_it_is_said() {
    assert_eq!(read(SMALL).unwrap().rates.compat, 25);
    let said = SMALL.to_owned() + "[compat]\nmax_share = 100\n";
    assert_eq!(read(&said).unwrap().rates.compat, 100);
}

#[test]
fn the_cipher_back_end_is_the_fastest_unless_another_is_named() {
    assert_eq!(read(SMALL).unwrap().ciphers, Backend::auto());
    let said = SMALL.to_owned() + "[crypto]\nbackend = \"rustcrypto\"\n";
    assert_eq!(read(&said).unwrap().ciphers, Backend::RustCrypto);
    let faults = read(&said.replace("rustcrypto", "openssl")).unwrap_err();
    assert_eq!(faults[0].key, "crypto.backend");
}

#[test]
fn ipsec_without_a_key_is_refused() {
    let faults = read(&SMALL.replace("psk = [{ secret = \"lab-psk\" }]\n", "")).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].key, "listener[0].psk");
}

#[test]
fn pools_that_overlap_are_refused() {
    let second = "[[pool]]\nname = \"more\"\naddresses = \"10.77.0.9-10.77.0.20\"\n\
                  gateway = \"10.78.0.1\"\n";
    let faults = read(&(SMALL.to_owned() + second)).unwrap_err();
    assert!(
        faults[0].what.contains("10.77.0.9 is in pool"),
        "{faults:?}"
    );
}

#[test]
fn an_address_belongs_to_one_user() {
    let user = |name: &str, address: &str| {
        format!("[[user]]\nname = \"{name}\"\npassword = \"x\"\naddress = \"{address}\"\n")
    };
    let twice = SMALL.to_owned() + &user("bob", "10.77.0.9") + &user("carol", "10.77.0.9");
    let faults = read(&twice).unwrap_err();
    assert_eq!(faults[0].key, "user[2].address");
    assert!(faults[0].what.contains("user \"bob\""), "{faults:?}");
    let ours = SMALL.to_owned() + &user("bob", "10.77.0.1");
    assert!(read(&ours).unwrap_err()[0].what.contains("gateway"));
}

#[test]
fn limits_and_windows_are_settings() {
    let text = format!(
        "[gateway]\nreplay_window = 4096\npeer_idle = \"1m\"\n{SMALL}\
         [limits]\nstrangers_per_second = 5\nrows_per_turn = 8\n"
    );
    let text = text.replace(
        "pool = \"main\"\n[[pool]]",
        "pool = \"main\"\n[listener.ike]\nphase2_kilobytes = 250000\n[[pool]]",
    );
    let config = read(&text).unwrap();
    assert_eq!(config.control.replay_window, 4096);
    assert_eq!(config.control.peer_idle, Duration::from_secs(60));
    assert_eq!((config.rates.strangers, config.rates.stranger), (5, 100));
    assert_eq!(config.control.limits.rows_per_turn, 8);
    let policy = config.control.listeners[0].ike.as_ref().unwrap();
    assert_eq!(policy.phase2_kilobytes, Some(250_000));
    assert_eq!(read(SMALL).unwrap().control.replay_window, 1024);
}

#[test]
fn cores_are_numbers() {
    let workers = |text: &str| read(&format!("{SMALL}[workers]\ncount = 2\ncores = {text}\n"));
    assert_eq!(workers("[2, 3]").unwrap().workers.cores, [2, 3]);
    for wrong in ["[2]", "[2, -3]", "[2, \"3\"]", "2"] {
        let faults = workers(wrong).unwrap_err();
        assert_eq!(faults[0].key, "workers.cores", "{wrong}: {faults:?}");
    }
}

#[test]
fn a_user_may_be_connected_as_often_as_it_says() {
    let text = SMALL.to_owned() + "sessions = 3\nbeyond_sessions = \"deny\"\n";
    let config = read(&text).unwrap();
    let limit = config.control.users[0].sessions.unwrap();
    assert_eq!((limit.max, limit.beyond), (3, Beyond::Deny));
}

#[test]
fn secrets_that_everybody_on_the_machine_can_read_are_warned_of() {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    let folder = std::env::temp_dir().join(format!("adit-secrets-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let [config, key] = ["gateway.toml", "key"].map(|name| folder.join(name));
    write(&key, "lab-psk\n").unwrap();
    write(&config, SMALL.replace("\"lab-psk\"", "{ file = \"key\" }")).unwrap();
    let warnings = |mode| {
        for file in [&config, &key] {
            set_permissions(file, Permissions::from_mode(mode)).unwrap();
        }
        let warnings = Config::load(&config).unwrap().warnings;
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(warnings(0o640), [""; 0]);
    let both = warnings(0o644);
    assert_eq!(both.len(), 2, "one for each file: {both:?}");
    for key in [
        ":5: listener[0].psk[0].secret.file: everybody",
        ":15: user[0].password: everybody",
    ] {
        assert!(both.iter().any(|text| text.contains(key)), "{both:?}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn secrets_may_be_in_one_file_of_their_own() {
    let folder = std::env::temp_dir().join(format!("adit-named-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("secrets.toml");
    let config = folder.join("gateway.toml");
    let text = format!("secrets = \"secrets.toml\"\n{SMALL}")
        .replace("\"lab-psk\"", "{ name = \"office\" }")
        .replace("\"wonder-land\"", "{ name = \"alice@home\" }");
    let load = |secrets: &str| {
        std::fs::write(&file, secrets).unwrap();
        Config::read(&config, text.clone())
    };
    let good = load("office = \"a = b\"\n\"alice@home\" = \"wonder-land\"\n").unwrap();
    let policy = good.control.listeners[0].ike.as_ref().unwrap();
    assert_eq!(policy.psks[0].key.expose(), b"a = b");
    let open = &good.warnings[0];
    assert!(
        open.key == "secrets" && open.what.contains("secrets.toml"),
        "{open}"
    );
    let faults = load("office = 7\n").unwrap_err();
    let texts: Vec<String> = faults.iter().map(|f| format!("{} {f}", f.key)).collect();
    assert_eq!(faults.len(), 3, "{texts:?}");
    assert!(texts.iter().any(|t| t.contains("secrets.toml:1: office")));
    assert!(texts.iter().any(|t| t.contains("no \"alice@home\"")));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_the_gateway_has_no_room_for_is_refused() {
    let one = |text: &str| {
        let faults = read(text).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].to_string()
    };
    let listener = |n: usize| {
        let [high, low] = (n as u16).to_be_bytes();
        format!(
            "[[listener]]\nname = \"{n}\"\naddress = \"10.8.{high}.{low}\"\n\
             ipsec = \"off\"\npool = \"main\"\n"
        )
    };
    let more = |count| SMALL.to_owned() + &(0..count).map(listener).collect::<String>();
    assert!(read(&more(255)).is_ok());
    assert!(one(&more(256)).contains("there are 257, and 256 are served"));
    let pool = |addresses: &str| SMALL.replace("10.77.0.0/24", addresses);
    assert!(read(&pool("10.0.0.0/8")).is_ok());
    assert!(one(&pool("10.0.0.0/7")).contains("too many for a pool"));
    assert!(one(&pool("2001:db8::/120")).contains("IPv6 inside the tunnels"));
    let named = |name: &str| format!("[gateway]\nhost_name = \"{name}\"\n{SMALL}");
    for name in [String::new(), "a b".into(), "a".repeat(256)] {
        assert!(one(&named(&name)).contains("1 to 255 visible"), "{name}");
    }
}

#[test]
fn every_shipped_configuration_is_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let config = Config::load(&path);
            assert!(
                config.is_ok(),
                "{}: {:?}",
                path.display(),
                config.unwrap_err()
            );
            count += 1;
        }
    }
    assert!(count >= 4, "{count} configurations");
}

fn read(text: &str) -> Result<Config, Vec<Fault>> {
    Config::read(Path::new("test.toml"), text.to_owned())
}
