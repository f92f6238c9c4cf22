use super::*;

#[test]
fn every_profile_that_is_built_in_reads_and_says_what_it_is() {
    for name in names() {
        let profile = Profile::load(name).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(!profile.about.is_empty(), "{name}");
        assert!(
            !profile.sources.is_empty(),
            "{name} has to say how it is known"
        );
        let settings = profile.client(&Credentials::default(), 1);
        assert_eq!(
            settings.ipsec.is_none(),
            profile.needs == Needs::Plain,
            "{name}"
        );
    }
}

#[test]
fn a_profile_may_be_a_file_and_is_told_all_that_is_wrong_with_it_at_once() {
    let text = "about = \"x\"\nunsure = [\"perhaps\"]\n[ike]\nphase1 = [\"aes256-sha1-modp2048\", \
                \"aes512-sha1-modp2048\"]\n[ike.quick]\nesp = \"null-sha1\"\n[l2tp]\n\
                host-nam = \"x\"\nsccrq = [\"M hostname\"]\nport = \"99999\"\n[[ppp.network]]\n";
    let Err(LoadError::Faults(faults)) = Profile::parse("x.toml", text) else {
        panic!("it has faults")
    };
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let keys: Vec<(usize, &str)> = faults.iter().map(|f| (f.line, f.key.as_str())).collect();
    assert_eq!(
        keys,
        [
            (2, "unsure"),
            (4, "ike.phase1"),
            (6, "ike.quick.esp"),
            (7, "l2tp.host-name"),
            (8, "l2tp.host-nam"),
            (9, "l2tp.sccrq"),
            (10, "l2tp.port"),
            (11, "ppp.network[0].protocol"),
        ],
        "{told:#?}"
    );
    assert_eq!(
        told[1],
        "x.toml:4: ike.phase1: \"aes512-sha1-modp2048\" is not a transform such as \
         aes256-sha1-modp2048 or des-md5-modp768"
    );
    let nowhere = Profile::load("/nowhere/x.toml").unwrap_err().to_string();
    assert!(nowhere.contains("windows-11"), "{nowhere}");
}

#[test]
fn clients_of_one_profile_differ_where_real_ones_do() {
    let apple = Profile::load("apple").unwrap();
    let credentials = Credentials {
        user: "user{}".into(),
        ..Credentials::default()
    };
    let [one, two] = [1, 2].map(|number| apple.client(&credentials, number));
    assert_eq!(one.ppp.user, "user1");
    assert_eq!(two.ppp.user, "user2");
    assert_ne!(one.habits.l2tp_port, two.habits.l2tp_port);
    assert_eq!(one.ipsec.unwrap().client_port, one.habits.l2tp_port);
    let habits = [one.ppp.habits.clone(), two.ppp.habits.clone()];
    assert_ne!(habits[0], habits[1], "interface identifiers");
    let windows = Profile::load("windows-11").unwrap();
    let name = windows.client(&credentials, 42).l2tp.host_name.clone();
    assert_eq!(name, "DESKTOP-0000042");
}
