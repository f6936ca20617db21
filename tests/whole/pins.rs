//! What the lock pins of an address holds, also without the store.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
};

use crate::project::{FILE, Project};

/// Serves a text that can be changed; counts how often it was fetched.
struct Server {
    address: String,
    text: Arc<Mutex<(String, usize)>>,
}

impl Server {
    fn new(text: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/words.txt", listener.local_addr().unwrap());
        let text = Arc::new(Mutex::new((text.to_owned(), 0)));
        let served = Arc::clone(&text);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                lines.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())).for_each(drop);
                let mut served = served.lock().unwrap();
                served.1 += 1;
                let text = &served.0;
                let status = if text == "404" { "404 Not Found" } else { "200 OK" };
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
                let _ = stream.write_all([head.as_bytes(), text.as_bytes()].concat().as_slice());
            }
        });
        Self { address, text }
    }

    fn holds(&self, text: &str) {
        self.text.lock().unwrap().0 = text.to_owned();
    }

    fn fetched(&self) -> usize {
        self.text.lock().unwrap().1
    }

    fn project(&self) -> Project {
        Project::new(&self.pipeline())
    }

    fn pipeline(&self) -> String {
        format!(
            "vars: {{flag: a}}\nstages:\n  raw:\n    kind: download\n    from: {{url: {{address: '{}'}}}}\n  copy:\n    kind: \
             command\n    run: [sh, -c, 'cat \"$1\" > \"$2\"', '${{vars.flag}}', '${{in.text}}', '${{out.text}}']\n    in: \
             {{text: raw/words.txt}}\n    out: {{text: text}}\n",
            self.address
        )
    }
}

const LOCK: &str = "pipelines/p.lock.yaml";

fn forget_the_store(project: &Project) {
    fs::remove_dir_all(project.path("outputs")).unwrap();
}

#[test]
fn what_was_downloaded_first_is_what_must_come() {
    let server = Server::new("one\n");
    let project = server.project();
    project.run(&[]).exit(0).did(&["copy", "raw"]);
    let lock = project.text(LOCK);
    assert!(lock.contains(&server.address), "{lock}");
    project.run(&[]).exit(0).did(&[]);
    project.run(&["--set", "vars.flag=b"]).exit(0).did(&["copy"]);
    assert_eq!(server.fetched(), 1);
    // A clone, and the address holds the same.
    forget_the_store(&project);
    project.engine(&["plan", FILE]).exit(0).says(&["runs     raw  recorded, not here"]);
    project.run(&[]).exit(0).did(&["copy", "raw"]);
    assert_eq!((project.text(LOCK), server.fetched()), (lock.clone(), 2));
    // A clone, and the address holds something else.
    forget_the_store(&project);
    server.holds("two\n");
    let ran = project.run(&[]);
    let pinned = lock.split("digest: ").nth(1).unwrap()[..64].to_owned();
    ran.did(&[]).failed(&["raw"]).fails_with(&["others than the lock pins", &pinned, &server.address, "--update raw"]);
    assert_eq!(ran.members("skipped"), ["copy"]);
    assert_eq!(project.text(LOCK), lock);
    let records = project.path("outputs/.store/v1/records");
    assert!(!records.exists(), "nothing was recorded");
    project.run(&["--set", "vars.flag=b"]).failed(&["raw"]);

    let moved = project.run(&["--update", "raw"]);
    moved.exit(0).did(&["copy", "raw"]);
    assert_eq!(project.text("outputs/p/copy/text"), "two\n");
    assert!(!project.text(LOCK).contains(&pinned));
    project.run(&[]).exit(0).did(&[]);
    // The older contents are another key: with the older lock they are wanted again.
    project.file(LOCK, &lock);
    project.run(&[]).failed(&["raw"]);
    server.holds("one\n");
    project.run(&[]).exit(0).did(&["copy", "raw"]);
    assert_eq!(project.text("outputs/p/copy/text"), "one\n");
}

#[test]
fn an_update_to_the_same_contents_stops_there() {
    let server = Server::new("one\n");
    let project = server.project();
    project.run(&[]).exit(0);
    let lock = project.text(LOCK);
    project.run(&["--update", "raw"]).exit(0).did(&["raw"]);
    assert_eq!((project.text(LOCK), server.fetched()), (lock.clone(), 2));
    // One that fails leaves the pin where it was.
    server.holds("404");
    project.run(&["--update", "raw"]).failed(&["raw"]);
    assert_eq!(project.text(LOCK), lock);
    project.run(&[]).exit(0).did(&[]);
    project.engine(&["run", FILE, "--update", "copy"]).exit(2).warns(&["`copy` has no pin to be moved", "sha256"]);
    project.engine(&["run", FILE, "--update", "rwa"]).exit(2).warns(&["no stage is named `rwa`", "raw"]);
}

#[test]
fn another_address_is_no_longer_pinned() {
    let server = Server::new("one\n");
    let project = server.project();
    project.run(&[]).exit(0);
    let other = Server::new("two\n");
    project.pipeline(&other.pipeline());
    project.run(&[]).exit(0).did(&["copy", "raw"]);
    assert!(project.text(LOCK).contains(&other.address) && !project.text(LOCK).contains(&server.address));
}

#[test]
fn pins_of_a_damaged_lock_still_hold() {
    let server = Server::new("one\n");
    let project = server.project();
    project.run(&[]).exit(0);
    let lock = project.text(LOCK);
    forget_the_store(&project);
    server.holds("two\n");
    let cut = &lock[..lock.find("results:").unwrap() + 30];
    project.file(LOCK, cut);
    let ran = project.run(&[]);
    ran.failed(&["raw"]);
    ran.said.warns(&["the lock file is damaged", "it is written anew"]);
    // Both sides of a merge, with other pins: nothing is chosen in silence.
    let (ours, digest) = (&lock, lock.split("digest: ").nth(1).unwrap()[..64].to_owned());
    let theirs = lock.replace(&digest, &"2".repeat(64));
    project.file(LOCK, &format!("<<<<<<< ours\n{ours}=======\n{theirs}>>>>>>> theirs\n"));
    let said = project.engine(&["run", FILE]);
    said.exit(2).warns(&["half-merged lock pin `raw` to different", "--update raw"]);
    project.run(&["--update", "raw"]).exit(0).did(&["copy", "raw"]);
    project.run(&[]).exit(0).did(&[]);
    assert_eq!(project.text("outputs/p/copy/text"), "two\n");
}
