//! A network of ours between two processes: it delays, loses, cuts and forgets.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};

/// How bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// As fast as they come.
    Fair,
    /// Each piece takes so much longer.
    Slow(Duration),
    /// Nothing arrives, nothing is refused. What is on its way arrives when the weather is fair again.
    Blackhole,
}

/// What happens to every connection that is open now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strike {
    /// Both ends are told at once.
    Reset,
    /// The server's end is closed; the client's stays open and silent.
    HalfOpen,
    /// The server's next answer stops in the middle.
    CutAnswer,
}

/// A port on loopback that leads to the first of some others that answers.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    road: Arc<Road>,
}

#[derive(Debug)]
struct Road {
    targets: Vec<u16>,
    next: AtomicU64,
    weather: watch::Sender<Weather>,
    strikes: broadcast::Sender<Strike>,
}

impl Proxy {
    /// Opens a port that leads to `targets`, taken in turn.
    pub(crate) async fn open(targets: Vec<u16>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let road = Arc::new(Road {
            targets,
            next: AtomicU64::new(0),
            weather: watch::Sender::new(Weather::Fair),
            strikes: broadcast::Sender::new(64),
        });
        let accepting = road.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let road = accepting.clone();
                tokio::spawn(async move {
                    // A connection that ends badly is what this is for.
                    let _ = road.carry(client).await;
                });
            }
        });
        Ok(Self { port, road })
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.road.weather.send_replace(weather);
    }

    /// Strikes; says how many connections were open.
    pub(crate) fn strike(&self, strike: Strike) -> usize {
        self.road.strikes.send(strike).unwrap_or(0)
    }
}

impl Road {
    async fn server(&self) -> io::Result<TcpStream> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        let mut refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        for turn in 0..self.targets.len() {
            let port = self.targets[(first + turn) % self.targets.len()];
            match TcpStream::connect(("127.0.0.1", port)).await {
                Ok(server) => return Ok(server),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Waits as long as the weather says.
    async fn pass(&self) {
        let mut weather = self.weather.subscribe();
        let now = *weather.borrow_and_update();
        match now {
            Weather::Fair => {}
            Weather::Slow(by) => tokio::time::sleep(by).await,
            Weather::Blackhole => {
                // The sender lives as long as the road.
                let _ = weather.wait_for(|weather| *weather != Weather::Blackhole).await;
            }
        }
    }

    async fn carry(&self, mut client: TcpStream) -> io::Result<()> {
        let mut strikes = self.strikes.subscribe();
        self.pass().await;
        let mut server = self.server().await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (mut asked, mut answered) = (vec![0; 16_384], vec![0; 16_384]);
        let mut is_cut = false;
        loop {
            tokio::select! {
                read = client.read(&mut asked) => {
                    let length = read?;
                    if length == 0 {
                        return Ok(());
                    }
                    self.pass().await;
                    server.write_all(&asked[..length]).await?;
                }
                read = server.read(&mut answered) => {
                    let length = read?;
                    if length == 0 {
                        return Ok(());
                    }
                    self.pass().await;
                    if is_cut {
                        client.write_all(&answered[..length / 2]).await?;
                        return reset(&client, &server);
                    }
                    client.write_all(&answered[..length]).await?;
                }
                Ok(strike) = strikes.recv() => match strike {
                    Strike::Reset => {
                        return reset(&client, &server);
                    }
                    Strike::HalfOpen => {
                        reset(&server, &server)?;
                        drop(server);
                        return swallow(client, asked).await;
                    }
                    Strike::CutAnswer => is_cut = true,
                },
            }
        }
    }
}

/// Both ends get a reset when they are dropped.
fn reset(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    client.set_zero_linger()?;
    server.set_zero_linger()
}

/// Reads, and never answers.
async fn swallow(mut client: TcpStream, mut asked: Vec<u8>) -> io::Result<()> {
    while client.read(&mut asked).await? > 0 {}
    Ok(())
}
