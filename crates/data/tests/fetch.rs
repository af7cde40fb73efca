//! Downloading from servers that are slow, break off, lie about lengths and ranges, send wrong bytes, or nothing.
//! All of them are on the loopback; no test leaves this machine.

mod loopback;

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use loopback::{Request, Server, head, hold, length, nobody, ranged, send, whole};
use rigl_base::{Error, Kind, Result, files};
use rigl_data::fetch::{Event, Fetched, Options, Report, fetch};
use rigl_data::source::{File, Form, Source};
use sha2::{Digest, Sha256};

const NAME: &str = "noise.bin";
const BYTES: usize = 300_000;

/// The right contents: nothing in it repeats.
fn noise() -> Vec<u8> {
    (0..BYTES as u32 / 4).flat_map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A data folder for a data set of one file.
struct Place {
    folder: tempfile::TempDir,
    options: Options,
}

impl Place {
    fn new(mirrors: &[&Server]) -> Place {
        let options = Options {
            mirrors: mirrors.iter().map(|server| server.url()).collect(),
            stall_timeout: Duration::from_secs(20),
            pause: Duration::ZERO,
            attempts: 3,
            ..Options::default()
        };
        Place { folder: tempfile::tempdir().unwrap(), options }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("noise").join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        files::create_folder(path.parent().unwrap()).unwrap();
        files::write_atomic(&path, bytes).unwrap();
    }

    fn part(&self) -> Option<Vec<u8>> {
        std::fs::read(self.path("noise.bin.part")).ok()
    }

    fn fetch_with(&self, stop: &AtomicBool, on: &mut dyn FnMut(Event<'_>)) -> Result<Option<Report>> {
        let (sha256, unpacked) = (sha256(&noise()), sha256(b"unpacked"));
        let file = File {
            published: Form { name: NAME, bytes: BYTES as u64, sha256: Some(&sha256) },
            unpacked: &[Form { name: "noise", bytes: 8, sha256: Some(&unpacked) }],
        };
        let source = Source { name: "noise", places: &["noise", "elsewhere"], files: &[file], mirrors: &[] };
        fetch(&source, self.folder.path(), &self.options, stop, on)
    }

    /// The download and what was said about failures.
    fn fetch(&self) -> (Result<Option<Report>>, Vec<String>) {
        let mut failures = Vec::new();
        let result = self.fetch_with(&AtomicBool::new(false), &mut |event| {
            if let Event::Failed { reason, .. } = event {
                failures.push(reason.to_string());
            }
        });
        (result, failures)
    }

    /// The file must have come from `server`, right and alone.
    #[track_caller]
    fn comes_from(&self, server: &Server) -> Vec<String> {
        let (result, failures) = self.fetch();
        let report = result.unwrap().unwrap();
        assert_eq!(
            report.files,
            [(NAME.into(), BYTES as u64, Fetched::From(format!("{}{NAME}", server.url())))]
        );
        assert!(std::fs::read(self.path(NAME)).unwrap() == noise());
        assert_eq!(self.part(), None);
        failures
    }

    /// The file must not have come.
    #[track_caller]
    fn fails(&self, kind: Kind) -> Error {
        let error = self.fetch().0.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().starts_with("cannot download `noise.bin` of `noise`: "), "{error}");
        assert!(!self.path(NAME).exists());
        error
    }
}

fn good() -> Server {
    Server::new(|request, stream| ranged(request, stream, &noise(), BYTES))
}

/// A server with one answer, and one after it that is asked when the first will not do.
#[track_caller]
fn passed_over(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static, reason: &str) {
    let (bad, good) = (Server::new(answer), good());
    let failures = Place::new(&[&bad, &good]).comes_from(&good);
    assert!(failures.last().unwrap().contains(reason), "`{reason}` is not in {failures:?}");
    assert_eq!(good.ranges().len(), 1);
}

#[test]
fn a_file_is_downloaded_once_and_then_left_alone() {
    let server = good();
    let place = Place::new(&[&server]);
    assert_eq!(place.comes_from(&server), [""; 0]);
    let report = place.fetch().0.unwrap().unwrap();
    assert_eq!(report.files, [(NAME.into(), BYTES as u64, Fetched::Kept)]);
    assert_eq!(report.place, place.path(""));
    assert_eq!(server.requests(), [Request { file: NAME.into(), from: None, number: 0 }]);
}

#[test]
fn progress_ends_with_the_size_of_the_file() {
    let server = good();
    let place = Place::new(&[&server]);
    let (mut progress, mut events) = (Vec::new(), Vec::new());
    let stop = AtomicBool::new(false);
    let on = &mut |event: Event<'_>| match event {
        Event::Progress { bytes } => progress.push(bytes),
        event => events.push(format!("{event:?}")),
    };
    place.fetch_with(&stop, on).unwrap().unwrap();
    assert!(progress.is_sorted() && progress.last() == Some(&(BYTES as u64)), "{progress:?}");
    assert!(events[0].starts_with("Started") && events[1].starts_with("Done"), "{events:?}");
}

#[test]
fn a_slow_server_is_waited_for() {
    let server = Server::new(|_, stream| {
        head(stream, "200 OK", &[length(BYTES)]);
        for piece in noise().chunks(BYTES / 100) {
            send(stream, piece);
            std::thread::sleep(Duration::from_millis(3));
        }
    });
    assert_eq!(Place::new(&[&server]).comes_from(&server), [""; 0]);
}

#[test]
fn a_download_that_broke_off_goes_on_where_it_ended() {
    let server = Server::new(|request, stream| {
        ranged(request, stream, &noise(), if request.number == 0 { 100_000 } else { BYTES });
    });
    let failures = Place::new(&[&server]).comes_from(&server);
    assert_eq!(failures, ["broke off after 100000 of 300000 bytes"]);
    assert_eq!(server.ranges(), [None, Some(100_000)]);
}

#[test]
fn what_one_mirror_left_the_next_one_completes_and_so_does_the_next_download() {
    let bad = Server::new(|request, stream| ranged(request, stream, &noise(), 70_000 * (request.number + 1)));
    let place = Place::new(&[&bad]);
    let error = place.fails(Kind::Environment);
    assert!(error.to_string().contains("broke off after 210000 of 300000 bytes"), "{error}");
    assert!(error.hint_text().unwrap().contains("rigl data fetch noise --mirror URL"));
    assert!(place.part().unwrap() == noise()[..210_000]);
    let good = good();
    let place = Place { options: Place::new(&[&nobody_at_all(), &good]).options, ..place };
    place.comes_from(&good);
    assert_eq!((bad.ranges(), good.ranges()), (vec![None, Some(70_000), Some(140_000)], vec![Some(210_000)]));
}

/// A server that refuses everything.
fn nobody_at_all() -> Server {
    Server::new(|_, stream| head(stream, "404 Not Found", &[length(0)]))
}

#[test]
fn a_server_without_ranges_starts_over() {
    let server = Server::new(|request, stream| match request.number {
        0 => ranged(request, stream, &noise(), 100_000),
        _ => whole(stream, &noise()),
    });
    Place::new(&[&server]).comes_from(&server);
    assert_eq!(server.ranges(), [None, Some(100_000)]);
}

#[test]
fn a_server_that_mistakes_ranges_is_asked_for_the_whole() {
    let mistaken = [
        |stream: &mut TcpStream| head(stream, "416 Range Not Satisfiable", &[length(0)]),
        |stream: &mut TcpStream| {
            let range = format!("Content-Range: bytes 0-{}/{BYTES}", BYTES - 1);
            head(stream, "206 Partial Content", &[length(BYTES), range]);
            send(stream, noise());
        },
        |stream: &mut TcpStream| {
            head(stream, "206 Partial Content", &[length(BYTES - 100_000)]);
            send(stream, &noise()[100_000..]);
        },
    ];
    for answer in mistaken {
        let server = Server::new(move |request, stream| match request.from {
            None => whole(stream, &noise()),
            Some(_) => answer(stream),
        });
        let place = Place::new(&[&server]);
        place.write("noise.bin.part", &noise()[..100_000]);
        assert_eq!(place.comes_from(&server).len(), 1);
        assert_eq!(server.ranges(), [Some(100_000), None]);
    }
}

#[test]
fn a_length_that_is_not_the_files_is_believed_by_nobody() {
    for length in [0, 1000, BYTES - 1, BYTES + 1, 1 << 40] {
        let answer = move |_: &Request, stream: &mut TcpStream| {
            head(stream, "200 OK", &[loopback::length(length)]);
            send(stream, noise());
        };
        passed_over(answer, &format!("says that it sends {length} bytes, expected {BYTES}"));
    }
    passed_over(
        |request, stream| match request.from {
            None => ranged(request, stream, &noise(), 100_000),
            Some(_) => {
                let range = format!("Content-Range: bytes 100000-{}/{BYTES}", BYTES - 1);
                head(stream, "206 Partial Content", &[length(5), range]);
                send(stream, noise());
            }
        },
        "says that it sends 5 bytes, expected 200000 after the 100000 that are there",
    );
}

#[test]
fn a_body_that_never_ends_is_cut_off_at_the_size_of_the_file() {
    passed_over(
        |_, stream| {
            head(stream, "200 OK", &[]);
            while send(stream, noise()) {}
        },
        "sends more than the 300000 bytes of the file",
    );
    passed_over(
        |_, stream| {
            head(stream, "200 OK", &["Transfer-Encoding: chunked".into()]);
            while send(stream, format!("{BYTES:x}\r\n")) && send(stream, noise()) && send(stream, "\r\n") {}
        },
        "sends more than the 300000 bytes of the file",
    );
}

#[test]
fn a_body_of_untold_length_will_do() {
    let server = Server::new(|_, stream| {
        head(stream, "200 OK", &[]);
        send(stream, noise());
    });
    assert_eq!(Place::new(&[&server]).comes_from(&server), [""; 0]);
}

#[test]
fn wrong_bytes_are_thrown_away_and_the_next_mirror_is_asked() {
    let mut wrong = noise();
    wrong[BYTES / 2] ^= 1;
    let found = sha256(&wrong);
    let (wrong, good) = (Arc::new(wrong), good());
    let bytes = Arc::clone(&wrong);
    passed_over(
        move |_, stream| whole(stream, &bytes),
        &format!("sent a file that has the SHA-256 `{found}`"),
    );

    let bad = Server::new(move |request, stream| ranged(request, stream, &wrong, BYTES));
    let missing = nobody_at_all();
    let place = Place::new(&[&bad, &missing]);
    let error = place.fails(Kind::Data).to_string();
    let parts = [&*found, &sha256(&noise()), &bad.url(), &missing.url(), "answered `404 Not Found`"];
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    assert_eq!((place.part(), bad.ranges()), (None, vec![None]));
    assert!(good.requests().is_empty());
}

#[test]
fn a_good_mirror_gets_over_the_beginning_of_another_file() {
    let server = good();
    let place = Place::new(&[&server]);
    for (part, ranges) in [
        (vec![7; 1000], vec![Some(1000), None]),
        // All of it, so that nothing is asked for.
        (vec![7; BYTES], vec![None]),
        // More than the whole is the beginning of nothing.
        (vec![7; BYTES + 1], vec![None]),
    ] {
        let before = server.ranges().len();
        place.write("noise.bin.part", &part);
        place.comes_from(&server);
        assert_eq!(server.ranges()[before..], ranges);
        files::remove(&place.path(NAME)).unwrap();
    }
    // The right bytes, of which only the name is missing.
    let before = server.ranges().len();
    place.write("noise.bin.part", &noise());
    place.comes_from(&server);
    assert_eq!(server.ranges().len(), before);
}

#[test]
fn servers_that_refuse_are_not_asked_twice_and_busy_ones_are() {
    passed_over(|_, stream| head(stream, "404 Not Found", &[length(0)]), "answered `404 Not Found`");
    passed_over(|_, stream| head(stream, "403 Forbidden", &[length(0)]), "answered `403 Forbidden`");
    passed_over(|_, stream| head(stream, "204 No Content", &[]), "answered `204 No Content`");
    passed_over(|_, stream| head(stream, "206 Partial Content", &[length(BYTES)]), "answered `206 Partial");
    let refusing = nobody_at_all();
    Place::new(&[&refusing]).fails(Kind::Environment);
    assert_eq!(refusing.requests().len(), 1);

    let busy = Server::new(|request, stream| match request.number {
        0 => head(stream, "503 Service Unavailable", &[length(0)]),
        1 => head(stream, "429 Too Many Requests", &[length(0)]),
        _ => whole(stream, &noise()),
    });
    let failures = Place::new(&[&busy]).comes_from(&busy);
    assert_eq!(failures, ["answered `503 Service Unavailable`", "answered `429 Too Many Requests`"]);
}

#[test]
fn redirects_are_followed_and_circles_left() {
    let target = good();
    let url = target.url();
    let server = Server::new(move |request, stream| match &*request.file {
        "moved" => head(stream, "302 Found", &[format!("Location: {url}{NAME}"), length(0)]),
        _ => head(stream, "301 Moved Permanently", &["Location: /moved".into(), length(0)]),
    });
    let place = Place::new(&[&server]);
    place.write("noise.bin.part", &noise()[..1000]);
    place.comes_from(&server);
    assert_eq!(target.ranges(), [Some(1000)]);

    passed_over(
        |_, stream| head(stream, "302 Found", &[format!("Location: /{NAME}"), length(0)]),
        "too many redirects",
    );
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let (silent, good) = (Server::new(|_, stream| hold(stream)), good());
    let mut place = Place::new(&[&silent, &good]);
    place.options.stall_timeout = Duration::from_secs(1);
    place.options.attempts = 2;
    let failures = place.comes_from(&good);
    assert_eq!(failures, ["sent nothing for too long"; 2]);
}

#[test]
fn a_server_that_falls_silent_is_asked_to_go_on() {
    let server = Server::new(|request, stream| match request.number {
        0 => {
            ranged(request, stream, &noise(), 100_000);
            hold(stream);
        }
        _ => ranged(request, stream, &noise(), BYTES),
    });
    let mut place = Place::new(&[&server]);
    place.options.stall_timeout = Duration::from_secs(1);
    let failures = place.comes_from(&server);
    assert_eq!(failures, ["sent nothing for too long after 100000 of 300000 bytes"]);
    assert_eq!(server.ranges(), [None, Some(100_000)]);
}

#[test]
fn a_server_that_sends_all_and_does_not_hang_up_will_do() {
    let server = Server::new(|_, stream| {
        head(stream, "200 OK", &[]);
        send(stream, noise());
        hold(stream);
    });
    let mut place = Place::new(&[&server]);
    place.options.stall_timeout = Duration::from_secs(1);
    assert_eq!(place.comes_from(&server), [""; 0]);
}

#[test]
fn what_is_no_web_server_is_passed_over() {
    passed_over(
        |_, stream| {
            send(stream, "220 mail.example.org ready\r\n");
        },
        "failed: ",
    );
    passed_over(|_, _| (), "broke off");
    passed_over(
        |_, stream| {
            send(stream, "HTTP/1.1 200 OK\r\n");
            while send(stream, "X-More: and more\r\n") {}
        },
        "failed: ",
    );
    let good = good();
    let mut place = Place::new(&[&good]);
    place.options.mirrors.insert(0, nobody());
    assert_eq!(place.comes_from(&good).len(), 3);
}

#[test]
fn https_begins_with_a_handshake_and_sends_nothing_to_those_who_do_not_answer_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = vec![0; 1 << 14];
        let got = stream.read(&mut hello).unwrap();
        send(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
        send(&mut stream, noise());
        hello.truncate(got);
        hello
    });
    let mut place = Place::new(&[]);
    place.options.mirrors = vec![url];
    place.options.attempts = 1;
    let error = place.fails(Kind::Environment);
    assert!(error.to_string().contains("failed: "), "{error}");
    // The record type of a handshake, and the major version of TLS.
    let hello = server.join().unwrap();
    assert_eq!(hello[..2], [0x16, 0x03]);
    assert!(!hello.windows(3).any(|window| window == b"GET"));
}

#[test]
fn a_stop_ends_a_wait_for_the_network_and_keeps_what_is_there() {
    let stop = Arc::new(AtomicBool::new(false));
    let pulled = Arc::clone(&stop);
    let server = Server::new(move |request, stream| match request.number {
        // Would hold for as long as this test may take.
        0 => {
            pulled.store(true, Ordering::SeqCst);
            hold(stream);
        }
        1 => {
            ranged(request, stream, &noise(), 100_000);
            hold(stream);
        }
        _ => ranged(request, stream, &noise(), BYTES),
    });
    let mut place = Place::new(&[&server, &server]);
    place.options.stall_timeout = Duration::from_secs(3600);
    place.options.pause = Duration::from_secs(3600);
    assert!(place.fetch_with(&stop, &mut |_| ()).unwrap().is_none());
    assert_eq!(server.ranges(), [None]);

    stop.store(false, Ordering::SeqCst);
    let on = &mut |event: Event<'_>| {
        if matches!(event, Event::Progress { bytes: 100_000 }) {
            stop.store(true, Ordering::SeqCst);
        }
    };
    assert!(place.fetch_with(&stop, on).unwrap().is_none());
    assert!(place.part().unwrap() == noise()[..100_000] && !place.path(NAME).exists());

    place.comes_from(&server);
    assert_eq!(server.ranges(), [None, None, Some(100_000)]);
}

#[test]
fn a_stop_ends_the_pause_between_two_attempts() {
    let server = Server::new(|_, stream| head(stream, "503 Service Unavailable", &[length(0)]));
    let mut place = Place::new(&[&server]);
    place.options.pause = Duration::from_secs(3600);
    let stop = AtomicBool::new(false);
    let on = &mut |event: Event<'_>| stop.store(matches!(event, Event::Failed { .. }), Ordering::SeqCst);
    assert!(place.fetch_with(&stop, on).unwrap().is_none());
}

#[test]
fn a_file_that_is_not_the_published_one_is_left_alone_and_nothing_is_downloaded() {
    let server = good();
    for name in [NAME, "noise", "../elsewhere/noise.bin"] {
        let place = Place::new(&[&server]);
        place.write(name, b"mine");
        let error = place.fetch().0.unwrap_err();
        assert_eq!(error.kind(), Kind::Usage, "{error}");
        assert!(error.to_string().contains(" has 4 bytes, expected "), "{error}");
        assert!(error.hint_text().unwrap().contains("rigl data fetch noise --overwrite"), "{error}");
        assert_eq!(std::fs::read(place.path(name)).unwrap(), b"mine");
        assert!(place.path(name) == place.path(NAME) || !place.path(NAME).exists());
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_damaged_file_is_named_and_replaced_only_by_the_right_one() {
    let (bad, good) = (nobody_at_all(), good());
    let mut place = Place::new(&[&bad]);
    place.options.replace = true;
    place.write(NAME, b"mine");
    let mut damaged = Vec::new();
    let on = &mut |event: Event<'_>| {
        if let Event::Damaged { path, damage } = event {
            damaged.push((path.to_path_buf(), damage.to_string()));
        }
    };
    place.fetch_with(&AtomicBool::new(false), on).unwrap_err();
    assert_eq!(damaged, [(place.path(NAME), "has 4 bytes, expected 300000".to_string())]);
    assert_eq!(std::fs::read(place.path(NAME)).unwrap(), b"mine");
    let options = Options { replace: true, ..Place::new(&[&good]).options };
    Place { options, ..place }.comes_from(&good);
}

#[test]
fn whole_files_are_left_alone_unpacked_or_in_another_place() {
    let server = good();
    for (name, bytes) in [("noise", &b"unpacked"[..]), ("../elsewhere/noise.bin", &noise()[..])] {
        let place = Place::new(&[&server]);
        place.write(name, bytes);
        let report = place.fetch().0.unwrap().unwrap();
        assert_eq!((&report.files[0].2, report.files[0].1), (&Fetched::Kept, bytes.len() as u64));
        let path = report.place.join(Path::new(name).file_name().unwrap());
        assert_eq!(std::fs::read(path).unwrap(), bytes);
    }
    assert!(server.requests().is_empty());
}

#[test]
fn two_downloads_into_one_folder_do_not_meet() {
    let server = good();
    let place = Place::new(&[&server]);
    let mut second = None;
    place
        .fetch_with(&AtomicBool::new(false), &mut |event| {
            if matches!(event, Event::Started { .. }) {
                second = Some(place.fetch().0);
            }
        })
        .unwrap();
    let error = second.unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::Environment);
    assert!(error.to_string().starts_with("another process is downloading into `"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_disk_that_fails_ends_the_download_at_once() {
    let server = good();
    let place = Place::new(&[&server, &server]);
    files::create_folder(&place.path("noise.bin.part")).unwrap();
    let error = place.fetch().0.unwrap_err();
    assert_eq!(error.kind(), Kind::Environment);
    assert!(error.to_string().contains("noise.bin.part"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_source_without_mirrors_says_so() {
    let error = Place::new(&[]).fails(Kind::Environment);
    assert!(error.to_string().ends_with("there is no mirror to ask"), "{error}");
}
