//! `rigl data` and `rigl data fetch`, against a server on the loopback; no test leaves this machine.
#![cfg(feature = "fetch")]

#[path = "../../data/tests/loopback/mod.rs"]
mod loopback;
mod support;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use loopback::{Server, head, hold, length, nobody, ranged, send, whole};
use rigl_base::files;
use support::{MNIST, Place, Said};

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte.gz";
/// The size of that file.
const SIZE: usize = 9_912_422;

/// A command line in an environment that names no proxy.
fn command(place: &Place, line: &str) -> Command {
    let mut command = place.command(line.split_whitespace());
    for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command
}

fn run(place: &Place, line: &str) -> Said {
    Said::of(command(place, line))
}

fn fetch(place: &Place, server: &Server, more: &str) -> Said {
    run(place, &format!("data fetch mnist --data-dir data --mirror {} {more}", server.url()))
}

/// The command must be refused with this message and hint, and nothing be left behind.
#[track_caller]
fn refused(line: &str, error: &str, hint: &str) {
    let place = Place::new();
    let said = run(&place, line);
    assert_eq!(said.err, format!("error: {error}\n{hint}"), "{line}");
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{line}");
    assert_eq!(place.contents(), [], "{line}");
}

#[test]
fn the_list_says_what_is_there_and_where() {
    let place = Place::new();
    let said = run(&place, "data").succeeded();
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(
        lines[0].starts_with("data set") && lines[5].starts_with("drawn-digits   embedded"),
        "{}",
        said.out
    );
    assert!(lines[2].starts_with("array          your own files"), "{}", said.out);
    assert!(lines[3].starts_with("cifar10        missing 1 of 1"), "{}", said.out);
    assert!(lines[7].starts_with("mnist          missing 4 of 4"), "{}", said.out);
    assert!(lines[7].ends_with("cache/rigl/mnist"), "{}", said.out);
    assert!(said.err.contains("`rigl data fetch mnist`"), "{}", said.err);

    // Small files in place of the published ones: they can be trained on, and are no MNIST.
    place.write_data(20, 20);
    let said = run(&place, "data --data-dir data").succeeded();
    assert!(said.out.contains("not as published 4 of 4"), "{}", said.out);
    let warning = format!("warning: `data/{}` has 28 bytes, expected 60008", MNIST[1]);
    assert!(said.err.contains(&warning), "{}", said.err);
    assert!(said.err.contains("`rigl data fetch cifar10 --data-dir data`"), "{}", said.err);
    assert!(
        said.err.contains("`rigl data --verify --data-dir data` tells whether `mnist` is"),
        "{}",
        said.err
    );
    let said = run(&place, "data --data-dir data --verify -q").succeeded();
    assert!(said.out.contains("own data: 20 and 20 samples  every sample"), "{}", said.out);
    assert!(!said.err.contains("rigl data fetch"), "{}", said.err);
}

#[test]
fn the_list_can_be_had_as_json() {
    let place = Place::new();
    place.write(&format!("data/mnist/{}.gz", MNIST[3]), b"damaged");
    let sets = run(&place, "data --json --data-dir data").succeeded().json();
    let states: Vec<_> = sets.as_array().unwrap().iter().map(|set| (&set["name"], &set["state"])).collect();
    assert_eq!(
        format!("{states:?}"),
        r#"[(String("array"), String("own files")), (String("cifar10"), String("missing")), (String("cifar100"), String("missing")), (String("drawn-digits"), String("embedded")), (String("fashion-mnist"), String("missing")), (String("mnist"), String("missing"))]"#
    );
    let mnist = &sets[5];
    assert_eq!((&mnist["folder"], &mnist["verified"]), (&"data/mnist".into(), &false.into()));
    assert_eq!(
        (&mnist["files"][0]["name"], &mnist["files"][0]["present"]),
        (&TRAIN_IMAGES.into(), &false.into())
    );
    assert_eq!(mnist["files"][3]["damage"], "has 7 bytes, expected 4542");
}

#[test]
fn mistakes_are_told() {
    refused(
        "data fetch minst",
        "no data set is called `minst`, allowed are `array`, `cifar10`, `cifar100`, `drawn-digits`, `fashion-mnist`, `mnist`",
        "\nhint: mnist\n",
    );
    refused(
        "data fetch array",
        "data set `array` is read from files of your own, there is nothing to download",
        "",
    );
    refused(
        "data fetch drawn-digits",
        "data set `drawn-digits` is embedded in the program, there is nothing to download",
        "",
    );
    refused(
        "data fetch mnist --mirror example.org",
        "`--mirror`: mirror `example.org` does not begin with `https://` or `http://`; a file's name is put at its end",
        "\nhint: https://example.org/mnist/\n",
    );
    refused(
        "data --verify fetch mnist",
        "`--verify` is for the list of data sets; `fetch` verifies every file without it",
        "\nhint: rigl data fetch NAME\n",
    );
    for line in ["data fetch", "data fetch mnist --mirror", "data fetch mnist fashion-mnist", "data mnist"] {
        let place = Place::new();
        let said = run(&place, line);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{line}");
        assert_eq!(place.contents(), [], "{line}");
    }
    let place = Place::new();
    let mut command = command(&place, "data");
    let said = Said::of({
        command.env_remove("HOME").env_remove("XDG_CACHE_HOME").env_remove("LOCALAPPDATA");
        command
    });
    assert_eq!(
        said.err,
        "error: there is no data folder: this user has no cache folder\n\nhint: --data-dir DIR\n"
    );
}

#[test]
fn somebody_s_own_files_are_left_alone_unless_that_is_said() {
    let server = Server::new(|_, stream| whole(stream, b"<!DOCTYPE html>"));
    let place = Place::new();
    place.write_data(20, 20);
    let before = place.contents();
    let said = fetch(&place, &server, "");
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{}", said.err);
    let error = format!("error: `data/{}` has 15696 bytes, expected 47040016; it is left as it is", MNIST[0]);
    assert!(said.err.starts_with(&error), "{}", said.err);
    assert!(said.err.contains("`rigl data fetch mnist --overwrite`"), "{}", said.err);
    assert_eq!((place.contents(), server.requests().len()), (before, 0));
    let said = fetch(&place, &server, "--overwrite");
    assert_eq!((said.code, server.requests().len()), (Some(2), 1), "{}", said.err);
}

#[test]
fn wrong_bytes_are_refused() {
    let server = Server::new(|_, stream| whole(stream, &vec![0; SIZE]));
    let other = Server::new(|_, stream| whole(stream, b"<!DOCTYPE html>"));
    let place = Place::new();
    let said = fetch(&place, &server, &format!("--mirror {}", other.url()));
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{}", said.err);
    let error = said.err.lines().find(|line| line.starts_with("error: ")).unwrap();
    for part in [
        "error: cannot download `train-images-idx3-ubyte.gz` of `mnist`: ",
        &format!("`{}{TRAIN_IMAGES}` sent a file that has the SHA-256 `", server.url()),
        "expected `440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609`; ",
        &format!("`{}{TRAIN_IMAGES}` says that it sends 15 bytes, expected {SIZE}", other.url()),
    ] {
        assert!(error.contains(part), "`{part}` is not in {error}");
    }
    assert!(said.err.contains("\nhint: `rigl data fetch mnist --mirror URL`"), "{}", said.err);
    // The folder and its lock, nothing else.
    let left: Vec<PathBuf> = place.contents().into_iter().map(|(path, _)| path).collect();
    assert_eq!(left, ["data", "data/mnist", "data/mnist/.fetch.lock"].map(|name| place.path(name)));
}

#[test]
fn an_archive_is_downloaded_as_it_is_and_an_unpacked_one_left_alone() {
    const SIZE: usize = 168_513_733;
    let server = Server::new(|_, stream| whole(stream, b"<!DOCTYPE html>"));
    let fetch = |place: &Place, name: &str| {
        run(place, &format!("data fetch {name} --data-dir data --mirror {}", server.url()))
    };
    let place = Place::new();
    let said = fetch(&place, "cifar100");
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{}", said.err);
    let part =
        format!("`{}cifar-100-binary.tar.gz` says that it sends 15 bytes, expected {SIZE}", server.url());
    assert!(said.err.contains(&part), "{}", said.err);

    // Files of the right size are taken for the right ones once they are unpacked.
    let bytes = |name: &str| if name == "train" { 153_700_000 } else { 30_740_000 };
    for name in ["train", "test"] {
        let path = format!("data/cifar-100-binary/{name}.bin");
        place.write(&path, b"");
        let said = run(&place, "data --data-dir data").succeeded();
        let state = if name == "train" {
            "missing 1 of 2, not as published 1 of 2"
        } else {
            "not as published 1 of 2"
        };
        assert!(said.out.contains(&format!("cifar100       {state} ")), "{}", said.out);
        files::open_lock_file(&place.path(&path)).unwrap().set_len(bytes(name)).unwrap();
    }
    let said = fetch(&place, "cifar100").succeeded();
    assert_eq!(said.out, "cifar100: complete, 184 MB in data\n");
    assert_eq!(server.requests().len(), 1);
    let said = run(&place, "data --verify --json --data-dir data").succeeded().json();
    let set = said.as_array().unwrap().iter().find(|set| set["name"] == "cifar100").unwrap();
    assert_eq!((&set["state"], &set["bytes"]), (&"complete".into(), &184_440_000.into()));
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let place = Place::new();
    let url = nobody();
    let said = run(&place, &format!("-q data fetch fashion-mnist --data-dir data --mirror {url}"));
    assert_eq!(said.code, Some(2));
    assert!(said.err.starts_with("error: cannot download") && said.err.contains(&url), "{}", said.err);
}

#[cfg(unix)]
#[test]
fn an_interrupt_keeps_what_has_come() {
    let server = Server::new(|request, stream| match request.number {
        0 => {
            ranged(request, stream, &vec![0; SIZE], 100_000);
            hold(stream);
        }
        _ => head(stream, "404 Not Found", &[length(0)]),
    });
    let place = Place::new();
    let part = place.path(&format!("data/mnist/{TRAIN_IMAGES}.part"));
    let mut command = command(&place, &format!("data fetch mnist --data-dir data --mirror {}", server.url()));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while part.metadata().map_or(0, |metadata| metadata.len()) < 100_000 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before anything came");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // Not SIGINT, which is ignored in what a shell without job control starts in the background.
    let kill = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status().unwrap();
    assert!(kill.success());
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.out.as_str()), (Some(143), ""), "{}", said.err);
    assert!(said.err.contains("interrupted; what has come is kept"), "{}", said.err);
    assert_eq!(part.metadata().unwrap().len(), 100_000);
    assert_eq!(fetch(&place, &server, "").code, Some(2));
    assert_eq!(server.ranges(), [None, Some(100_000)]);
}

#[test]
fn the_real_files_are_downloaded_over_a_bad_line() {
    let Some(data) = std::env::var_os("RIGL_DATA_DIR").map(PathBuf::from) else {
        println!("skipped: RIGL_DATA_DIR is not set");
        return;
    };
    let server =
        Server::new(move |request, stream| match std::fs::read(data.join("mnist").join(&request.file)) {
            // The first and largest file breaks off once.
            Ok(bytes) => {
                ranged(request, stream, &bytes, if request.number == 0 { SIZE / 2 } else { bytes.len() })
            }
            Err(_) => {
                send(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            }
        });
    let place = Place::new();
    let said = fetch(&place, &server, "").succeeded();
    assert_eq!(said.out, "mnist: complete, 11.6 MB in data/mnist\n");
    assert!(said.err.contains("broke off after 4956211 of 9912422 bytes"), "{}", said.err);
    assert_eq!(server.ranges(), [None, Some(SIZE / 2), None, None, None]);

    let said = fetch(&place, &server, "--json").succeeded().json();
    assert_eq!((&said["bytes"], &said["files"][0]["downloaded"]), (&11_594_722.into(), &false.into()));
    assert_eq!(server.requests().len(), 5);
    let sets = run(&place, "data --verify --json --data-dir data").succeeded().json();
    assert_eq!((&sets[4]["state"], &sets[4]["verified"]), (&"complete".into(), &true.into()));
    run(&place, "train mnist-lenet --data-dir data --dry-run").succeeded();
}
