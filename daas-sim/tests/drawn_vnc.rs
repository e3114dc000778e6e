//! The VNC server and the screen of drawn guests, seen by a small client of our own.

#![allow(clippy::unwrap_used)]

mod drawn_support;

use std::io::Read;
use std::time::Duration;

use daas_sim::guest::drawn::{DrawnConfig, LogKind};
use daas_sim::guest::{ByteStream, Guest, GuestMaker};
use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use drawn_support::{PATIENCE, booted, own_network};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const RAW: i32 = 0;
const ZRLE: i32 = 16;

/// A client that keeps the whole picture.
struct Client {
    stream: Box<dyn ByteStream>,
    width: usize,
    height: usize,
    pixels: Vec<u32>,
    zlib: flate2::Decompress,
}

impl Client {
    /// Opens with security type None, or with a password; `None` when that is refused.
    async fn open(mut stream: Box<dyn ByteStream>, password: Option<&str>) -> Option<Self> {
        let mut greeting = [0; 12];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"RFB 003.008\n");
        stream.write_all(b"RFB 003.008\n").await.unwrap();
        let mut types = vec![0; stream.read_u8().await.unwrap().into()];
        stream.read_exact(&mut types).await.unwrap();
        assert_eq!(types, [if password.is_some() { 2 } else { 1 }]);
        stream.write_all(&types).await.unwrap();
        if let Some(password) = password {
            let mut challenge = [0; 16];
            stream.read_exact(&mut challenge).await.unwrap();
            stream.write_all(&encrypted(&challenge, password)).await.unwrap();
        }
        if stream.read_u32().await.unwrap() != 0 {
            return None;
        }
        stream.write_u8(1).await.unwrap();
        let (width, height) = (stream.read_u16().await.unwrap(), stream.read_u16().await.unwrap());
        let mut format = [0; 16];
        stream.read_exact(&mut format).await.unwrap();
        assert_eq!(format[..4], [32, 24, 0, 1]);
        let mut name = vec![0; stream.read_u32().await.unwrap() as usize];
        stream.read_exact(&mut name).await.unwrap();
        let (width, height) = (width.into(), height.into());
        let zlib = flate2::Decompress::new(true);
        Some(Self { stream, width, height, pixels: vec![0; width * height], zlib })
    }

    async fn encoding(&mut self, encoding: i32) {
        let mut message = vec![2, 0, 0, 1];
        message.extend_from_slice(&encoding.to_be_bytes());
        self.stream.write_all(&message).await.unwrap();
    }

    async fn ask(&mut self, incremental: bool) {
        let mut message = vec![3, incremental.into(), 0, 0, 0, 0];
        message.extend_from_slice(&(self.width as u16).to_be_bytes());
        message.extend_from_slice(&(self.height as u16).to_be_bytes());
        self.stream.write_all(&message).await.unwrap();
    }

    async fn key(&mut self, keysym: u32) {
        for down in [1, 0] {
            self.stream.write_all(&[4, down, 0, 0]).await.unwrap();
            self.stream.write_all(&keysym.to_be_bytes()).await.unwrap();
        }
    }

    /// Reads one update into the picture; how many pixels it brought.
    async fn update(&mut self) -> usize {
        let read = async {
            assert_eq!(self.stream.read_u8().await.unwrap(), 0);
            self.stream.read_u8().await.unwrap();
            let mut count = 0;
            for _ in 0..self.stream.read_u16().await.unwrap() {
                count += self.rectangle().await;
            }
            count
        };
        timeout(PATIENCE, read).await.expect("an update in time")
    }

    async fn rectangle(&mut self) -> usize {
        let mut numbers = [0; 4];
        for number in &mut numbers {
            *number = usize::from(self.stream.read_u16().await.unwrap());
        }
        let [x, y, width, height] = numbers;
        match self.stream.read_i32().await.unwrap() {
            RAW => {
                let mut bytes = vec![0; width * height * 4];
                self.stream.read_exact(&mut bytes).await.unwrap();
                for (i, pixel) in bytes.chunks(4).enumerate() {
                    let value = u32::from_le_bytes(pixel.try_into().unwrap());
                    self.pixels[(y + i / width) * self.width + x + i % width] = value;
                }
            }
            ZRLE => {
                let mut data = vec![0; self.stream.read_u32().await.unwrap() as usize];
                self.stream.read_exact(&mut data).await.unwrap();
                let mut tiles = Vec::with_capacity(width * height * 3 + 65536);
                let flush = flate2::FlushDecompress::Sync;
                self.zlib.decompress_vec(&data, &mut tiles, flush).unwrap();
                self.tiles(&tiles, numbers);
            }
            other => panic!("encoding {other} was not asked for"),
        }
        width * height
    }

    fn tiles(&mut self, mut tiles: &[u8], [x, y, width, height]: [usize; 4]) {
        let pixel = |tiles: &mut &[u8]| {
            let mut bytes = [0; 3];
            Read::read_exact(&mut *tiles, &mut bytes).unwrap();
            u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0])
        };
        for top in (0..height).step_by(64) {
            for left in (0..width).step_by(64) {
                let mut kind = [0];
                Read::read_exact(&mut tiles, &mut kind).unwrap();
                let solid = (kind[0] == 1).then(|| pixel(&mut tiles));
                assert!(kind[0] < 2, "a subencoding of another kind");
                for row in top..height.min(top + 64) {
                    for column in left..width.min(left + 64) {
                        let value = solid.unwrap_or_else(|| pixel(&mut tiles));
                        self.pixels[(y + row) * self.width + x + column] = value;
                    }
                }
            }
        }
        assert!(tiles.is_empty(), "no bytes are left over");
    }

    fn colours(&self) -> usize {
        self.pixels.iter().collect::<std::collections::HashSet<_>>().len()
    }
}

fn encrypted(challenge: &[u8; 16], password: &str) -> Vec<u8> {
    let mut key = [0; 8];
    key.iter_mut().zip(password.bytes()).for_each(|(key, byte)| *key = byte.reverse_bits());
    let cipher = Des::new(&key.into());
    let mut answer = Vec::new();
    for part in challenge.chunks(8) {
        let mut block = <[u8; 8]>::try_from(part).unwrap().into();
        cipher.encrypt_block(&mut block);
        answer.extend_from_slice(&block);
    }
    answer
}

#[test]
fn the_test_client_encrypts_as_others_do() {
    // Made by `openssl enc -des-ecb` with the bits of "Pa55w0rd" mirrored.
    let challenge: [u8; 16] = std::array::from_fn(|i| i as u8);
    let text: String =
        encrypted(&challenge, "Pa55w0rd").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text, "e401ff411db1cf4cedbba1df58af05e2");
}

#[tokio::test]
async fn the_screen_shows_keys_to_all_who_look() {
    let config = DrawnConfig { clock: false, ..own_network() };
    let (maker, guest) = booted(config, &[]).await;
    let mut one = Client::open(guest.screen().await.unwrap(), None).await.unwrap();
    let mut two = Client::open(guest.screen().await.unwrap(), None).await.unwrap();
    two.encoding(ZRLE).await;
    for client in [&mut one, &mut two] {
        client.ask(false).await;
        assert_eq!(client.update().await, client.width * client.height);
        assert!(client.colours() > 100, "{}", client.colours());
    }
    assert!(one.pixels == two.pixels, "both encodings show the same picture");
    let before = one.pixels.clone();
    one.ask(true).await;
    two.ask(true).await;
    let early = timeout(Duration::from_millis(50), one.stream.read_u8()).await;
    assert!(early.is_err(), "nothing changed, so nothing comes");
    one.key(u32::from('h')).await;
    for client in [&mut one, &mut two] {
        let count = client.update().await;
        assert!(count < client.width * client.height / 2, "only a part comes: {count}");
        assert!(client.pixels != before, "the letter shows");
    }
    assert!(one.pixels == two.pixels);
    one.ask(true).await;
    one.stream.write_all(&[5, 1, 0, 100, 2, 0]).await.unwrap();
    assert!(one.update().await > 0, "the click shows");
    maker.close().await;
    let rest = timeout(PATIENCE, one.stream.read_to_end(&mut Vec::new())).await;
    rest.expect("the stream ends with the guest").unwrap();
    assert!(guest.screen().await.is_err(), "no power, no screen");
}

#[tokio::test]
async fn the_port_asks_for_the_password() {
    let config = DrawnConfig { vnc_password: Some("Pa55w0rd".into()), ..own_network() };
    let (maker, guest) = booted(config, &[]).await;
    let address = (guest.address(), guest.ports().vnc);
    let wrong = TcpStream::connect(address).await.unwrap();
    assert!(Client::open(Box::new(wrong), Some("password")).await.is_none());
    let right = TcpStream::connect(address).await.unwrap();
    let mut client = Client::open(Box::new(right), Some("Pa55w0rd")).await.unwrap();
    client.ask(false).await;
    assert_eq!(client.update().await, client.width * client.height);
    let refused = |guest: &daas_sim::guest::drawn::DrawnGuest| {
        guest.with_disk(|disk| disk.log().any(|entry| entry.kind == LogKind::Refused))
    };
    assert!(refused(&guest));
    // Nonsense ends the connection instead of waiting for more.
    client.stream.write_all(&[99; 8]).await.unwrap();
    let end = timeout(PATIENCE, client.stream.read_to_end(&mut Vec::new())).await;
    end.expect("the connection ends").unwrap();
    maker.close().await;
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn without_a_password_there_is_no_port() {
    let (maker, guest) = booted(own_network(), &[]).await;
    assert!(TcpStream::connect((guest.address(), guest.ports().vnc)).await.is_err());
    maker.close().await;
}
