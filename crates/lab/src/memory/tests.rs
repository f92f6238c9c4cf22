use super::*;
use crate::clock;
use crate::driver::Silence;

const PATIENCE: Duration = Duration::from_secs(20);

fn shipped() -> Stage {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/memory.toml");
    Stage::open(Path::new(file)).unwrap()
}

#[test]
fn a_gateway_that_nobody_has_dialled_ends_with_all_its_chunks() {
    shipped().close().unwrap();
}

#[test]
fn a_gateway_that_has_ended_by_itself_ends_the_load_too() {
    let mut stage = shipped();
    let fleet = Fleet::new(stage.address().unwrap(), [1; 32]);
    let mut driver = stage.driver(fleet).unwrap();
    let limit = clock::now() + PATIENCE;
    driver.turn(&mut Silence, clock::now()).unwrap();
    // What it looks like from outside when its slow path is gone.
    stage.gateway.begin_to_end();
    let error = loop {
        assert!(clock::now() < limit, "the load hangs");
        let next = clock::now() + Duration::from_millis(10);
        if let Err(error) = driver.turn(&mut Silence, next) {
            break error;
        }
    };
    assert!(
        error.to_string().contains("the gateway has ended"),
        "{error}"
    );
}

#[test]
fn an_echo_request_is_answered_by_whom_it_was_sent_to() {
    let [from, to] = [Ipv4Addr::new(10, 64, 0, 2), Ipv4Addr::new(198, 51, 100, 1)];
    let mut request = vec![0; Ipv4::LEN];
    request.extend([ECHO_REQUEST, 0, 0, 0, 0x12, 0x34, 0, 7, b'a', b'b', b'c']);
    let sum = checksum::checksum(&request[Ipv4::LEN..]).to_be_bytes();
    request[22..24].copy_from_slice(&sum);
    wire::finish_ip(&mut request, from, to, Ipv4::ICMP);

    let answer = echo_reply(&request).unwrap();
    let (source, destination, payload) = wire::ip_payload(&answer).unwrap();
    assert_eq!((source, destination), (to, from));
    assert_eq!(checksum::checksum(&answer[..Ipv4::LEN]), 0);
    assert_eq!(checksum::checksum(&answer[payload.clone()]), 0);
    assert_eq!(answer[payload.start], ECHO_REPLY);
    assert_eq!(answer[payload][4..], request[24..]);

    assert_eq!(echo_reply(&answer), None, "an answer is not asked for");
    wire::finish_ip(&mut request, from, to, Ipv4::UDP);
    assert_eq!(echo_reply(&request), None);
    assert_eq!(echo_reply(&request[..25]), None);
}
