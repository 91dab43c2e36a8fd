//! Private servers survive what happens to their processes, their owners and their files.
#![allow(clippy::unwrap_used, reason = "the functions the tests share")]

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use local_postgres::{Error, LocalPostgres, Options, find_binaries, testing::TestServer};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};

fn query(url: &str, sql: &str) -> Result<String, String> {
    let output = Command::new(find_binaries().unwrap().join("psql"))
        .args(["--no-psqlrc", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", sql, url])
        .output()
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not so within 60 s: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

/// A process that has ended but was not waited for counts as gone.
fn is_gone(pid: u32) -> bool {
    let status = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    status.trim().is_empty() || status.trim().starts_with('Z')
}

/// A child process that does not outlive its test, whatever becomes of that.
struct Killed(Child);

impl Killed {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This test binary again, running one of the `as_a_child_…` functions below.
fn child(function: &str, variables: &[(&str, &str)]) -> Killed {
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", function, "--ignored", "--nocapture"])
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    Killed(child.unwrap())
}

/// What a child tells in a line that begins with `told:`.
fn told(child: &mut Killed) -> String {
    let lines = BufReader::new(child.0.stdout.as_mut().unwrap()).lines();
    let mut told =
        lines.filter_map(|line| line.unwrap().split_once("told:").map(|(_, t)| t.into()));
    told.next().expect("the child tells something")
}

#[test]
#[ignore = "run as a child process by the tests"]
fn as_a_child_own_a_server() {
    let Ok(data_dir) = env::var("CHILD_DATA_DIR") else { return };
    let server = LocalPostgres::start(&Options::new(data_dir)).unwrap();
    println!("told:{}", server.port());
    // Until killed, or let go.
    std::io::stdin().read_line(&mut String::new()).unwrap();
    server.stop().unwrap();
}

#[test]
#[ignore = "run as a child process by the tests"]
fn as_a_child_use_a_test_server() {
    if env::var_os("CHILD_TEST_SERVER").is_none() {
        return;
    }
    let mut server = TestServer::start(&[]);
    let postgres = server.postgres();
    println!("told:{} {}", postgres.pid().unwrap(), postgres.data_dir().display());
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
#[ignore = "run as a child process by the tests"]
fn as_a_child_find_binaries() {
    match find_binaries() {
        Ok(found) => println!("told:{}", found.display()),
        Err(error) => println!("told:{}", error.to_string().replace('\n', " ")),
    }
}

#[test]
fn a_new_server_is_private_durable_and_answers() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.settings.push(("max_connections".into(), "33".into()));
    let server = LocalPostgres::start(&options).unwrap();
    assert!(server.is_owner());
    let url = server.url("postgres");
    let expected = [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("password_encryption", "scram-sha-256"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", url.rsplit("&host=").next().unwrap()),
        ("max_connections", "33"),
    ];
    for (setting, value) in expected {
        assert_eq!(query(&url, &format!("show {setting}")).unwrap(), value, "{setting}");
    }
    let refused = query(&server.tcp_url("postgres").replace("amends:", "amends:x"), "select 1");
    assert!(refused.unwrap_err().contains("password authentication failed"));
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
    assert_eq!(mode("password") & 0o777, 0o600);
    assert_eq!(mode("postgres") & 0o777, 0o700);
    let pid = server.pid().unwrap();
    server.stop().unwrap();
    assert!(is_gone(pid));
    assert!(!dir.path().join("postgres/postmaster.pid").exists(), "a clean shutdown");
}

#[test]
fn data_and_password_outlive_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path().join(""));
    let server = LocalPostgres::start(&options).unwrap();
    query(&server.url("postgres"), "create table kept as select 42 as n").unwrap();
    let old_pid = server.pid();
    drop(server);
    let server = LocalPostgres::start(&options).unwrap();
    assert_ne!(server.pid(), old_pid);
    assert_eq!(query(&server.url("postgres"), "select n from kept").unwrap(), "42");
}

#[test]
fn a_second_start_shares_the_server_and_does_not_stop_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner =
        child("as_a_child_own_a_server", &[("CHILD_DATA_DIR", dir.path().to_str().unwrap())]);
    // Both at once: the one that comes second waits until the first one's server is ready.
    let port = told(&mut owner);
    let mut shared = LocalPostgres::start(&Options::new(dir.path())).unwrap();
    assert!(!shared.is_owner());
    assert_eq!(shared.port().to_string(), port);
    assert!(matches!(shared.restart(), Err(Error::NotOwner { .. })));
    assert!(matches!(shared.kill(), Err(Error::NotOwner { .. })));
    let (pid, url) = (shared.pid().unwrap(), shared.url("postgres"));
    shared.stop().unwrap();
    assert_eq!(query(&url, "select 1").unwrap(), "1");
    drop(owner.0.stdin.take());
    assert!(owner.0.wait().unwrap().success());
    assert!(is_gone(pid), "its owner stops it");
}

#[test]
fn many_at_once_share_one_server() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path());
    let servers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| LocalPostgres::start(&options).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(servers.iter().filter(|server| server.is_owner()).count(), 1);
    assert!(servers.iter().all(|server| server.port() == servers[0].port()));
}

#[test]
fn a_killed_owners_server_is_adopted_with_its_data_and_port() {
    let dir = tempfile::tempdir().unwrap();
    let variables = [("CHILD_DATA_DIR", dir.path().to_str().unwrap())];
    let mut owner = child("as_a_child_own_a_server", &variables);
    let port = told(&mut owner);
    let options = Options::new(dir.path());
    let shared = LocalPostgres::start(&options).unwrap();
    query(&shared.url("postgres"), "create table kept as select 42 as n").unwrap();
    owner.kill();

    let mut adopted = LocalPostgres::start(&options).unwrap();
    assert!(adopted.is_owner());
    assert_eq!((adopted.pid(), adopted.port().to_string()), (shared.pid(), port));
    assert_eq!(query(&adopted.url("postgres"), "select n from kept").unwrap(), "42");
    adopted.kill().unwrap();
    adopted.restart().unwrap();
    assert_eq!(query(&adopted.url("postgres"), "select n from kept").unwrap(), "42");
    let pid = adopted.pid().unwrap();
    adopted.stop().unwrap();
    assert!(is_gone(pid));
}

#[test]
fn an_adopted_server_is_stopped_by_its_new_owner() {
    let dir = tempfile::tempdir().unwrap();
    let variables = [("CHILD_DATA_DIR", dir.path().to_str().unwrap())];
    let mut owner = child("as_a_child_own_a_server", &variables);
    told(&mut owner);
    owner.kill();
    let adopted = LocalPostgres::start(&Options::new(dir.path())).unwrap();
    let pid = adopted.pid().unwrap();
    drop(adopted);
    assert!(is_gone(pid));
}

#[test]
fn a_kill_at_any_moment_of_the_first_start_leaves_nothing_half_made() {
    for moment in ["staging/", "staging/postgres/PG_VERSION", "postgres", "postgres/postmaster.pid"]
    {
        let dir = tempfile::tempdir().unwrap();
        let variables = [("CHILD_DATA_DIR", dir.path().to_str().unwrap())];
        let mut owner = child("as_a_child_own_a_server", &variables);
        until(moment, || match moment.strip_prefix("staging/") {
            Some(path) => staging(dir.path()).is_some_and(|staging| staging.join(path).exists()),
            None => dir.path().join(moment).exists(),
        });
        owner.kill();
        let server = LocalPostgres::start(&Options::new(dir.path())).unwrap();
        assert_eq!(query(&server.url("postgres"), "select 1").unwrap(), "1", "{moment}");
        let left = staging(dir.path());
        // While an orphan `initdb` still writes there, it may not be possible to remove it all.
        assert!(moment.starts_with("staging/") || left.is_none(), "{left:?}");
        let pid = server.pid().unwrap();
        server.stop().unwrap();
        assert!(is_gone(pid));
    }
}

fn staging(data_dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(data_dir).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().find(|path| path.to_str().unwrap().contains("/initialising-"))
}

#[test]
fn kill_and_restart_keep_port_password_and_committed_data() {
    let mut server = TestServer::start(&[("max_connections", "20")]);
    let url = server.url("postgres");
    query(&url, "create table kept as select 42 as n").unwrap();
    let postgres = server.postgres();
    let (pid, port) = (postgres.pid().unwrap(), postgres.port());
    // A busy server process would outlive the first process for a while.
    let busy = thread::spawn({
        let url = url.clone();
        move || query(&url, "select pg_sleep(60)")
    });
    let sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    until("a query runs", || query(&url, sleeping).unwrap() == "1");
    postgres.kill().unwrap();
    assert!(busy.join().unwrap().is_err(), "every process of the server is killed");
    assert!(is_gone(pid) && postgres.pid().is_none());
    assert!(query(&url, "select 1").is_err());
    postgres.kill().unwrap();
    postgres.restart().unwrap();
    assert_eq!(postgres.port(), port);
    assert_eq!(query(&url, "select n from kept").unwrap(), "42");
    postgres.restart().unwrap();
    assert_eq!(query(&url, "show max_connections").unwrap(), "20");
}

#[test]
fn a_server_that_crashed_by_itself_is_started_again() {
    let mut server = TestServer::start(&[]);
    let url = server.url("postgres");
    let busy = thread::spawn({
        let url = url.clone();
        // It notices the end of the first process only when it has an answer to send.
        move || query(&url, "select sum(n) from generate_series(1, 1e9) n")
    });
    let running = "select count(*) from pg_stat_activity where query like '%1e9%' and state = \
                   'active' and pid <> pg_backend_pid()";
    until("a query runs", || query(&url, running).unwrap() == "1");
    send(server.postgres().pid().unwrap(), Signal::SIGKILL);
    server.postgres().restart().unwrap();
    assert_eq!(query(&url, "select 1").unwrap(), "1");
    assert!(busy.join().unwrap().is_err());
}

#[test]
fn stale_pid_files_do_not_hinder_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path());
    let server = LocalPostgres::start(&options).unwrap();
    let file = dir.path().join("postgres/postmaster.pid");
    let text = fs::read_to_string(&file).unwrap();
    let rest = text.split_once('\n').unwrap().1.to_owned();
    server.stop().unwrap();

    // One that is nobody's any more, and one that is now another program's, of the same user as the
    // server: PostgreSQL itself refuses to start with that one.
    let mut gone = sleeper(dir.path());
    gone.kill();
    let mut innocent = sleeper(dir.path());
    for pid in [gone.0.id(), innocent.0.id()] {
        fs::write(&file, format!("{pid}\n{rest}")).unwrap();
        give_to_owner_of(&dir.path().join("postgres"), &file);
        let server = LocalPostgres::start(&options).unwrap();
        assert_eq!(query(&server.url("postgres"), "select 1").unwrap(), "1");
    }
    assert!(innocent.0.try_wait().unwrap().is_none(), "another program's process is left alone");
}

/// A process of the user the server runs as.
fn sleeper(data_dir: &Path) -> Killed {
    use std::os::unix::fs::MetadataExt;
    let mut command = Command::new("sleep");
    command.arg("600").current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
    if geteuid().is_root() {
        let owner = fs::metadata(data_dir.join("postgres")).unwrap();
        command.uid(owner.uid()).gid(owner.gid());
    }
    Killed(command.spawn().unwrap())
}

fn give_to_owner_of(like: &Path, path: &Path) {
    use std::os::unix::fs::{MetadataExt, chown};
    let owner = fs::metadata(like).unwrap();
    chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_failed_start_shows_the_end_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.settings.push(("no_such_setting".into(), "1".into()));
    let error = LocalPostgres::start(&options).unwrap_err();
    assert!(matches!(error, Error::Start { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("server.log") && text.contains("no_such_setting"), "{text}");
}

#[test]
fn an_unreachable_data_directory_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    let root = geteuid().is_root();
    let mode = if root { 0o700 } else { 0o000 };
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).unwrap();
    let error = LocalPostgres::start(&Options::new(closed.join("data"))).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("--data-dir"), "{text}");
    assert!(text.contains(closed.to_str().unwrap()), "{text}");
    if root {
        let Error::Unreachable { directory, .. } = error else { panic!("{error}") };
        assert_eq!(directory, closed.canonicalize().unwrap());
    }
    let after = fs::metadata(&closed).unwrap().permissions().mode() & 0o777;
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(after, mode, "a directory that is not ours is not opened");
}

#[test]
fn data_of_another_major_version_is_refused_with_what_to_install() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("postgres")).unwrap();
    fs::write(dir.path().join("postgres/PG_VERSION"), "12\n").unwrap();
    let error = LocalPostgres::start(&Options::new(dir.path())).unwrap_err();
    assert!(error.to_string().contains("written by PostgreSQL 12"), "{error}");
}

#[test]
fn a_wrong_variable_is_named_and_a_right_one_heeded() {
    let bin = find_binaries().unwrap();
    for (value, expected) in [
        ("/nonexistent", "AMENDS_PG_BIN is /nonexistent, where there is no runnable"),
        (bin.to_str().unwrap(), bin.to_str().unwrap()),
    ] {
        let mut found = child("as_a_child_find_binaries", &[("AMENDS_PG_BIN", value)]);
        let told = told(&mut found);
        assert!(told.starts_with(expected), "{told}");
    }
}

#[test]
fn a_test_server_and_its_data_go_when_the_test_process_is_killed() {
    let mut user = child("as_a_child_use_a_test_server", &[("CHILD_TEST_SERVER", "1")]);
    let told = told(&mut user);
    let (pid, data_dir) = told.split_once(' ').unwrap();
    let (pid, data_dir) = (pid.parse().unwrap(), PathBuf::from(data_dir));
    assert!(data_dir.exists() && !is_gone(pid));
    user.kill();
    until("the server is gone", || is_gone(pid));
    until("its data is gone", || !data_dir.exists());
}
