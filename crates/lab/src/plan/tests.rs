//! The plan as a whole: numbers by hand, explanations, faults, files.

mod by_hand;

use super::*;
use crate::plan::quantity::Figure;
use crate::plan::sizing::Plan;

const RUN: &str = r#"{
  "machine": {"cpu": "a processor", "cores": 2, "core_ghz": 4.0, "date": "today", "commit": "c", "command": "perf/run"},
  "measurements": {
    "plain Up 64 B, 1000 sessions, Scattered": {"cost": 1, "median": 1, "ns": 100},
    "plain Up 1400 B, 1000 sessions, Scattered": {"cost": 1, "median": 1, "ns": 100},
    "plain Down 64 B, 1000 sessions, Scattered": {"cost": 1, "median": 1, "ns": 100},
    "plain Down 1400 B, 1000 sessions, Scattered": {"cost": 1, "median": 1, "ns": 100},
    "aes128gcm16 Up 64 B, 1000 sessions, Scattered": {"cost": 1, "median": 1, "ns": 200},
    "aes128gcm16 Up 1400 B, 1000 sessions, Scattered": {"cost": 1, "median": 1, "ns": 300},
    "aes128gcm16 Down 64 B, 1000 sessions, Scattered": {"cost": 1, "median": 1, "ns": 200},
    "aes128gcm16 Down 1400 B, 1000 sessions, Scattered": {"cost": 1, "median": 1, "ns": 300},
    "set-up of Plain": {"cost": 1, "median": 1, "ns": 20000},
    "set-up of Ike(Modp2048)": {"cost": 1, "median": 1, "ns": 1000000}
  }
}"#;

/// Numbers that can be checked by hand.
const MODEL: &str = r#"
[subscribers]
count = 10_000
[traffic]
down_kbit = 1120
up_kbit = 0
[[traffic.size]]
octets = 1400
share = 1
[[access]]
name = "a"
suite = "plain"
share = 3
[[access]]
name = "b"
suite = "aes128gcm16"
share = 1
[sessions]
length = "1000s"
[radius]
latency = "20ms"
interim = "1000s"
[gateway]
io_ns = 0
quarantine = "60s"
"#;

fn costs() -> Costs {
    Costs::parse(Path::new("run.json"), RUN).unwrap()
}

fn model(text: &str) -> Model {
    Model::parse(Path::new("model.toml"), text.to_owned()).unwrap()
}

fn made(text: &str) -> Plan {
    sizing::plan(&model(text), &costs()).unwrap()
}

fn value(plan: &Plan, name: &str) -> f64 {
    plan.book
        .figure(name)
        .unwrap_or_else(|| panic!("{name}"))
        .value
}

#[test]
fn a_plan_is_what_one_calculates_by_hand() {
    let plan = made(MODEL);
    let close = |name: &str, wanted: f64| {
        let found = value(&plan, name);
        assert!(
            (found / wanted - 1.0).abs() < 1e-9,
            "{name}: {found}, {wanted}"
        );
    };
    close("goodput_down", 11.2e9);
    close("packets_down", 1e6);
    close("tunnel_octets.a", 1400.0 + 4.0 + 8.0 + 8.0 + 20.0 + 38.0);
    // As the field has it: 1400 octets in GCM behind a NAT are 1484, and Ethernet 38.
    close("tunnel_octets.b", 1484.0 + 38.0);
    close(
        "tunnel_rate_down",
        1e6 * 8.0 * (0.75 * 1478.0 + 0.25 * 1522.0),
    );
    close("network_rate_down", 1e6 * 8.0 * 1438.0);
    close("data_busy", 1e6 * (0.75 * 100.0 + 0.25 * 300.0) / 1e9);
    close("tunnel_link", 25e9);
    close("setups", 10.0);
    close("compute_busy", 10.0 * 0.25 * 1e-3);
    close("protocol_use", 10.0 * 20e-6 + 10_000.0 * 1e-6);
    close("addresses", 10_600.0);
    close("prefix", 18.0);
    close("radius", 30.0 + 10.0);
    close("radius_outstanding", 0.8);
    close("session_memory", 10_000.0 * 8192.0);
    assert_eq!(value(&plan, "goodput_up"), 0.0);
    assert_eq!(value(&plan, "workers"), 1.0);
}

#[test]
fn the_fullest_comes_first_and_says_by_how_much() {
    let given = format!("{MODEL}addresses = 10_000\nlink_gbit = 40\n");
    let plan = made(&given);
    assert_eq!(plan.limits[0].title, "the address pools");
    assert!((plan.limits[0].used - 1.06).abs() < 1e-9);
    assert!((value(&plan, "headroom") - 1.0 / 1.06).abs() < 1e-9);
    assert!(
        plan.limits
            .windows(2)
            .all(|pair| pair[0].used >= pair[1].used)
    );
    let text = show::verdict(&plan);
    assert!(
        text.contains("the address pools will not do: 1.06 times"),
        "{text}"
    );
}

#[test]
fn every_number_that_is_printed_can_be_explained() {
    for file in ["isp-wholesale", "remote-access"] {
        let (model, costs) = (shipped(file), every_suite());
        let plan = sizing::plan(&model, &costs).unwrap();
        let text = show::text(&model, &costs, &plan);
        let lines = text.lines().filter(|line| line.starts_with("  "));
        assert!(lines.clone().count() > 50, "{text}");
        for line in lines {
            let (rest, name) = line.rsplit_once("  ").unwrap();
            let story = show::explanations(&plan, name).unwrap();
            let figure = plan.book.figure(name).unwrap();
            let shown = rest.trim_end().ends_with(&figure.shown);
            assert!(shown, "{line}: {}", figure.shown);
            assert!(
                story.contains(&figure.formula) && story.lines().count() > 3,
                "{story}"
            );
        }
        plan.book.figures().iter().for_each(has_ground);
        let all = show::explanations(&plan, "").unwrap();
        assert!(
            plan.book
                .figures()
                .iter()
                .all(|figure| all.contains(&figure.explanation()))
        );
    }
}

/// It has a formula and a source, no two have one name, and it is a number.
fn has_ground(figure: &Figure) {
    assert!(
        !figure.formula.is_empty() && !figure.sources.is_empty(),
        "{figure:?}"
    );
    assert!(
        figure.value.is_finite() && figure.value >= 0.0,
        "{figure:?}"
    );
}

#[test]
fn no_two_figures_have_one_name() {
    let (model, costs) = (shipped("remote-access"), every_suite());
    let plan = sizing::plan(&model, &costs).unwrap();
    let names = plan
        .book
        .figures()
        .iter()
        .map(|figure| figure.name.as_str());
    let unique: std::collections::BTreeSet<_> = names.clone().collect();
    assert_eq!(unique.len(), names.count());
}

#[test]
fn who_asks_for_a_figure_that_is_not_there_is_told_which_are() {
    let error = show::explanations(&made(MODEL), "corse")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("cores") && error.contains("data_busy"),
        "{error}"
    );
}

#[test]
fn all_faults_of_a_model_are_told_at_once() {
    let text = r#"seed = -1
[subscribers]
cuont = 5
online = 1.5
[traffic]
down_kbit = "much"
[[traffic.size]]
octets = 9000
[[access]]
suite = "rot13"
[[access]]
name = "x"
natt = true
[[access]]
name = "x"
group = "modp768"
[storm]
within = "soon"
[sessions]
length = "0s"
"#;
    let error = Model::parse(Path::new("m.toml"), text.to_owned()).unwrap_err();
    let error = error.to_string();
    let wanted = [
        "m.toml:1: seed: -1 is not between",
        "m.toml:3: subscribers.cuont: there is no such key; did you mean `count`?",
        "m.toml:4: subscribers.online: 1.5 is not between 0 and 1",
        "m.toml:6: traffic.down_kbit: this has to be a number, and is a text",
        "m.toml:8: traffic.size[0].octets: 9000 is not between",
        "m.toml:10: access[0].suite: \"rot13\" is neither plain nor a suite",
        "m.toml:13: access[1].natt: there is no ESP in plain L2TP",
        "m.toml:15: access[2].name: \"x\" is there twice",
        "m.toml:16: access[2].group: \"modp768\" is not a group",
        "m.toml:18: storm.within: \"soon\" is not a time",
        "m.toml:20: sessions.length: 0s is not between",
    ];
    for line in wanted {
        assert!(error.contains(line), "{line}\n{error}");
    }
    assert_eq!(error.lines().count(), wanted.len() + 1, "{error}");
}

#[test]
fn a_flag_overrides_the_file_and_is_named_as_the_source() {
    let mut model = model(MODEL);
    model.set("subscribers.count", 20_000.0).unwrap();
    assert!(model.set("subscribers.count", 0.0).is_err());
    let plan = sizing::plan(&model, &costs()).unwrap();
    assert_eq!(value(&plan, "sessions"), 20_000.0);
    let story = show::explanations(&plan, "sessions").unwrap();
    assert!(
        story.contains("subscribers.count, on the command line"),
        "{story}"
    );
    assert!(story.contains("subscribers.online, its default"), "{story}");
}

#[test]
fn the_same_model_and_costs_are_the_same_plan_to_the_last_digit() {
    let json = || {
        let (model, costs) = (model(MODEL), costs());
        let plan = sizing::plan(&model, &costs).unwrap();
        show::json(&model, &costs, &plan).unwrap()
    };
    assert_eq!(json(), json());
    let object: serde_json::Value = serde_json::from_str(&json()).unwrap();
    let figures = object["figures"].as_array().unwrap();
    let workers = figures.iter().find(|f| f["name"] == "workers").unwrap();
    assert_eq!(workers["value"], 1.0);
    assert_eq!(workers["unit"], "count");
    assert!(
        workers["sources"]
            .as_array()
            .unwrap()
            .iter()
            .any(|s| s["kind"] == "simulated")
    );
    assert_eq!(
        object["limits"][0]["used"].as_f64().map(f64::is_finite),
        Some(true)
    );
}

#[test]
fn more_load_wants_no_fewer_workers_and_a_smaller_ring_no_fewer_either() {
    let workers = |text: &str| value(&made(text), "workers");
    let load = |kbit: u32| MODEL.replace("down_kbit = 1120", &format!("down_kbit = {kbit}"));
    let counts = [1120, 11_200, 22_400, 44_800].map(|kbit| workers(&load(kbit)));
    assert!(
        counts.windows(2).all(|pair| pair[0] <= pair[1]),
        "{counts:?}"
    );
    assert!(
        counts[3] >= 7.0,
        "44.8 Mbit/s for 10 000 keep six cores busy: {counts:?}"
    );
    let short = load(44_800) + "ring = 64\n";
    let trains = short.replace("[traffic]", "[traffic]\ntrain = 64");
    assert!(workers(&trains) >= workers(&load(44_800)));
}

#[test]
fn the_page_shows_every_figure_and_stays_small() {
    let (model, costs) = (shipped("remote-access"), every_suite());
    let plan = sizing::plan(&model, &costs).unwrap();
    let html = page::page(&model, &costs, &plan).html().unwrap();
    for figure in plan.book.figures() {
        assert!(html.contains(&figure.name), "{}", figure.name);
    }
    assert!(html.len() < 150_000, "{} octets", html.len());
}

fn shipped(name: &str) -> Model {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/models");
    Model::read(&directory.join(format!("{name}.toml"))).unwrap()
}

/// The same costs for every suite of the models, and a curve as cheap as a prime.
fn every_suite() -> Costs {
    let mut run: serde_json::Value = serde_json::from_str(RUN).unwrap();
    let all = run["measurements"].as_object_mut().unwrap();
    let gcm: Vec<_> = all
        .iter()
        .filter(|(name, _)| name.starts_with("aes128gcm16"))
        .map(|(name, best)| (name.clone(), best.clone()))
        .collect();
    for suite in ["aes256-sha1", "aes256-sha256"] {
        let renamed = gcm
            .iter()
            .map(|(name, best)| (name.replace("aes128gcm16", suite), best.clone()));
        all.extend(renamed);
    }
    let curve = all["set-up of Ike(Modp2048)"].clone();
    all.insert("set-up of Ike(Ecp256)".to_owned(), curve);
    Costs::parse(Path::new("run.json"), &run.to_string()).unwrap()
}
