//! Files from local paths and from a small server.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex},
};

use crate::common::{Done, Project};
use serde_json::json;
use spec::job::Failure;

/// What the server does with one request.
#[derive(Clone, Copy)]
enum Answer {
    /// The whole file, or the range that is asked for.
    Serve,
    /// Only so many bytes, then the connection ends.
    Cut(usize),
    /// The whole file, whatever is asked for.
    Whole,
    /// A status without a file.
    Status(u16),
}

/// Serves `body`, one answer after the other, the last one for ever; gives its address and the ranges that were asked for.
fn serve(body: Vec<u8>, answers: Vec<Answer>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/files/train%20v2.json?x=1", listener.local_addr().unwrap());
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&ranges);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut range = String::new();
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let line = line.unwrap_or_default();
                if let Some(value) = line.to_lowercase().strip_prefix("range: ") {
                    range = value.to_owned();
                }
                if line.is_empty() {
                    break;
                }
            }
            asked.lock().unwrap().push(range.clone());
            let start: usize =
                range.strip_prefix("bytes=").map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
            let answer = answers[number.min(answers.len() - 1)];
            let (start, count) = match answer {
                Answer::Status(status) => {
                    let _ = write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    continue;
                }
                Answer::Whole => (0, body.len()),
                Answer::Serve => (start, body.len()),
                Answer::Cut(count) => (start, count),
            };
            let head = match start {
                0 => "HTTP/1.1 200 OK\r\n".to_owned(),
                _ => format!(
                    "HTTP/1.1 206 Partial\r\nContent-Range: bytes {start}-{}/{}\r\n",
                    body.len() - 1,
                    body.len()
                ),
            };
            let rest = &body[start.min(body.len())..];
            let _ = write!(stream, "{head}Content-Length: {}\r\nConnection: close\r\n\r\n", rest.len());
            let _ = stream.write_all(&rest[..rest.len().min(count)]);
        }
    });
    (address, ranges)
}

fn body() -> Vec<u8> {
    (0..300_000_u32).map(|number| (number * 7 % 251) as u8).collect()
}

/// `sha256sum` of [`body`].
const SHA256: &str = "b1cf7538cf80d01efe3e0b8e45dc930048a138c7b6f8c4aff08f478e4695e631";

fn download(project: &Project, name: &str, address: &str, sha256: &str) -> Result<Done, Failure> {
    project.run(name, "download", json!({"from": {"url": {"address": address, "sha256": sha256}}}), &[], &[], 1)
}

fn copy(project: &Project, name: &str, path: &Path) -> Result<Done, Failure> {
    project.run(name, "download", json!({"from": {"path": "x"}}), &[], &[("from.path", path)], 1)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_from_an_address_is_whole_and_named() {
    let project = Project::new();
    let (address, _) = serve(body(), vec![Answer::Serve]);
    let done = download(&project, "a", &address, &SHA256.to_uppercase()).unwrap();
    assert_eq!(names(&done.result), ["train_20v2.json"]);
    assert!(fs::read(done.result.join("train_20v2.json")).unwrap() == body());
    assert!(names(&project.path("a/state")).is_empty());
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let project = Project::new();
    let (address, ranges) = serve(body(), vec![Answer::Cut(100_000), Answer::Cut(50_000), Answer::Serve]);
    let done = download(&project, "a", &address, SHA256).unwrap();
    assert!(fs::read(done.result.join("train_20v2.json")).unwrap() == body());
    assert_eq!(*ranges.lock().unwrap(), ["", "bytes=100000-", "bytes=150000-"]);
    assert_eq!(done.warnings.len(), 2);
}

#[test]
fn an_older_beginning_is_thrown_away() {
    let project = Project::new();
    project.write("a/state/download.part", vec![9; 1000]);
    let (address, ranges) = serve(body(), vec![Answer::Serve]);
    let done = download(&project, "a", &address, SHA256).unwrap();
    assert!(fs::read(done.result.join("train_20v2.json")).unwrap() == body());
    assert_eq!(*ranges.lock().unwrap(), ["bytes=1000-", ""]);
    // A server that knows no ranges sends the whole file again.
    project.write("b/state/download.part", vec![9; 1000]);
    let (address, _) = serve(body(), vec![Answer::Whole]);
    let done = download(&project, "b", &address, SHA256).unwrap();
    assert!(fs::read(done.result.join("train_20v2.json")).unwrap() == body());
}

#[test]
fn without_a_digest_the_file_is_fetched_from_its_beginning() {
    let project = Project::new();
    project.write("a/state/download.part", vec![9; 1000]);
    let (address, ranges) = serve(body(), vec![Answer::Cut(100_000), Answer::Serve]);
    let done = project.run("a", "download", json!({"from": {"url": {"address": address}}}), &[], &[], 1).unwrap();
    assert!(fs::read(done.result.join("train_20v2.json")).unwrap() == body());
    assert_eq!(*ranges.lock().unwrap(), ["", "bytes=100000-"]);
}

#[test]
fn another_digest_is_refused_and_nothing_kept() {
    let project = Project::new();
    let (address, _) = serve(body(), vec![Answer::Serve]);
    let wrong = "0".repeat(64);
    let failure = download(&project, "a", &address, &wrong).err().unwrap();
    assert!(failure.message.contains(&wrong) && failure.message.contains(SHA256), "{failure:?}");
    assert!(names(&project.path("a/result")).is_empty() && names(&project.path("a/state")).is_empty());
}

#[test]
fn an_absent_file_is_not_asked_for_twice() {
    let project = Project::new();
    let (address, ranges) = serve(body(), vec![Answer::Status(404)]);
    let failure = download(&project, "a", &address, SHA256).err().unwrap();
    assert_eq!(failure.message, "the server answered 404");
    assert_eq!(ranges.lock().unwrap().len(), 1);
    let (address, _) = serve(body(), vec![Answer::Status(503), Answer::Serve]);
    assert!(download(&project, "b", &address, SHA256).is_ok());
}

#[test]
fn local_files_and_folders_are_copied() {
    let project = Project::new();
    let file = project.write("from/data/train.json", "[1]");
    project.write("from/data/deep/more.txt", "more");
    project.write("from/outside.txt", "secret");
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(project.path(to), project.path(at)).unwrap();
    link("from/data/train.json", "from/data/same.json");
    assert_eq!(names(&copy(&project, "a", &file).unwrap().result), ["train.json"]);
    let done = copy(&project, "b", &project.path("from/data")).unwrap();
    assert_eq!(names(&done.result), ["deep", "same.json", "train.json"]);
    assert_eq!(fs::read(done.result.join("deep/more.txt")).unwrap(), b"more");
    assert!(done.result.join("same.json").symlink_metadata().unwrap().is_file());
    link("from/outside.txt", "from/data/out");
    let failure = copy(&project, "c", &project.path("from/data")).err().unwrap();
    assert!(failure.message.contains("leads out of the folder") && failure.place.unwrap().ends_with("from/data/out"));
    fs::remove_file(project.path("from/data/out")).unwrap();
    link("from/data", "from/data/deep/up");
    assert!(copy(&project, "d", &project.path("from/data")).err().unwrap().message.contains("itself in"));
    let failure = copy(&project, "e", &project.path("from/dta")).err().unwrap();
    assert_eq!(failure.hint.as_deref(), Some("did you mean `data`?"));
}

/// A zip of one file, stored as it is.
fn zip(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap().into_inner()
}

#[test]
fn an_archive_is_unpacked_wherever_it_comes_from() {
    let project = Project::new();
    let archive = project.write("CoLA.zip", zip("CoLA/train.tsv", b"a\tb\n"));
    let done = copy(&project, "a", &archive).unwrap();
    assert_eq!(names(&done.result), ["CoLA"]);
    assert_eq!(fs::read(done.result.join("CoLA/train.tsv")).unwrap(), b"a\tb\n");
    // One that holds a file of its own name.
    let (address, _) = serve(zip("own.zip", b"inner"), vec![Answer::Serve]);
    let address = address.replace("train%20v2.json", "own.zip");
    let settings = json!({"from": {"url": {"address": address}}});
    let done = project.run("b", "download", settings, &[], &[], 1).unwrap();
    assert_eq!(
        (names(&done.result), fs::read(done.result.join("own.zip")).unwrap()),
        (vec!["own.zip".into()], b"inner".to_vec())
    );
    // Within a folder, archives are files like any other.
    project.write("folder/a.zip", zip("x", b"1"));
    assert_eq!(names(&copy(&project, "c", &project.path("folder")).unwrap().result), ["a.zip"]);
}

#[test]
fn an_archive_that_leads_outside_leaves_nothing_there() {
    let project = Project::new();
    let archive = project.write("evil.zip", zip("../../evil", b"x"));
    let failure = copy(&project, "a/b", &archive).err().unwrap();
    assert!(failure.message.contains("`../../evil` leads out of the folder"), "{failure:?}");
    assert!(!project.path("evil").exists() && !project.path("a/evil").exists());
}

#[test]
fn parts_have_folders_of_their_names() {
    let project = Project::new();
    let folder = project.write("one/a.jsonl", "{}").parent().unwrap().to_path_buf();
    let archive = project.write("two.zip", zip("deep/b.jsonl", b"{}"));
    let (address, _) = serve(body(), vec![Answer::Cut(1000), Answer::Serve]);
    let parts = json!({
        "train": {"path": "one"},
        "test": {"path": "two.zip"},
        "far": {"url": {"address": address, "sha256": SHA256}},
    });
    let files = [("from.parts.train.path", folder.as_path()), ("from.parts.test.path", archive.as_path())];
    let done = project.run("a", "download", json!({"from": {"parts": parts}}), &[], &files, 1).unwrap();
    assert_eq!(names(&done.result), ["far", "test", "train"]);
    assert!(done.result.join("train/a.jsonl").is_file() && done.result.join("test/deep/b.jsonl").is_file());
    assert!(fs::read(done.result.join("far/train_20v2.json")).unwrap() == body());
    assert_eq!(data::rows::find(&done.result, "train").unwrap(), [done.result.join("train/a.jsonl")]);
}
