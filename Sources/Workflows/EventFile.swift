import CheckpointIO
import Glibc
import TensorCore

/// The run's figures for TensorBoard: a file of TFRecords (length, masked CRC, bytes, masked CRC; all little-endian),
/// each an `Event` of tensorflow/core/util/event.proto with one or more scalars.
struct EventFile: RunRecordForm {
    private let folder: String
    private let now: () -> Double
    var measures = ["perplexity"]

    /// The file's name in its folder, which TensorBoard knows by `tfevents`.
    static let fileName = "events.out.tfevents.tspeft"

    /// A file in `folder`, which is made where it is missing in the folder above. `now` tells the seconds since 1970.
    init(folder: String, now: @escaping () -> Double = EventFile.clock) {
        self.folder = folder
        self.now = now
    }

    var path: String { joinedPath(folder, Self.fileName) }
    var place: String { isNamed(folder) ? path : folder }
    var outerFolder: String { isNamed(folder) ? folder : parentDirectory(of: folder) }

    /// The wall clock.
    static func clock() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    func prepare() throws(CheckpointError) {
        guard mkdir(folder, 0o777) == 0 || errno == EEXIST else { throw creationFailure(folder, errno) }
    }

    func header() -> [UInt8] {
        var event = ProtocolMessage()
        event.add(1, double: now())
        event.add(3, bytes: Array("brain.Event:2".utf8))
        return Self.record(event.bytes)
    }

    func piece(of line: JSONObject) -> [UInt8]? {
        guard let step = line["step"]?.integer(in: .steps) else { return nil }
        let tags: [(tag: String, key: String)]
        switch line["event"]?.stringValue {
        case "step": tags = Self.stepKeys.map { ("train/" + $0, $0) }
        case "evaluation":
            let prefix = "eval/" + (line["data"]?.stringValue.map { $0 + "/" } ?? "")
            tags = (["loss"] + measures).map { (prefix + $0, $0) }
        default: return nil
        }
        var summary = ProtocolMessage()
        for (tag, key) in tags {
            guard let found = line[key], let number = found.isNull ? .nan : found.doubleValue else { continue }
            var value = ProtocolMessage()
            value.add(1, bytes: Array(tag.utf8))
            value.add(2, float: Float(number))
            summary.add(1, bytes: value.bytes)
        }
        var event = ProtocolMessage()
        event.add(1, double: now())
        event.add(2, integer: UInt64(step))
        event.add(5, bytes: summary.bytes)
        return Self.record(event.bytes)
    }

    /// What is told of a step, by its names in the log.
    private static let stepKeys = [
        "loss", "learning_rate", "gradient_norm", "tokens_per_second", "epoch", "penalty", "mean_rank", "sparsity",
        "tau_min", "tau_max",
    ]

    func pieces(of bytes: [UInt8], upTo step: Int) -> [ArraySlice<UInt8>] {
        var pieces: [ArraySlice<UInt8>] = []
        var place = 0
        while let next = Self.record(at: place, of: bytes), Self.step(of: next.data) <= step {
            pieces.append(bytes[place..<next.end])
            place = next.end
        }
        return pieces
    }

    /// All but the time at which it was written.
    func key(of piece: ArraySlice<UInt8>) -> [UInt8] {
        Array(piece.dropFirst(Self.headerCount + Self.timeCount).dropLast(Self.checksumCount))
    }
}

// MARK: - TFRecords

extension EventFile {
    /// Bytes of a record before its data, and behind them.
    private static let (headerCount, checksumCount) = (12, 4)
    /// Bytes of an event's time, with which its data begin.
    private static let timeCount = 9

    /// A record of `data`.
    static func record(_ data: [UInt8]) -> [UInt8] {
        let length = littleEndian(UInt64(data.count))
        return length + littleEndian(maskedChecksum(length[...])) + data + littleEndian(maskedChecksum(data[...]))
    }

    /// The record that begins at `start`, if it is whole and its checksums hold.
    private static func record(at start: Int, of bytes: [UInt8]) -> (data: ArraySlice<UInt8>, end: Int)? {
        guard bytes.count - start >= headerCount + checksumCount else { return nil }
        let length = bytes[start..<start + 8]
        let count = length.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard Array(bytes[start + 8..<start + headerCount]) == littleEndian(maskedChecksum(length)),
            count <= UInt64(bytes.count - start - headerCount - checksumCount)
        else { return nil }
        let end = start + headerCount + Int(count)
        let data = bytes[start + headerCount..<end]
        guard Array(bytes[end..<end + checksumCount]) == littleEndian(maskedChecksum(data)) else { return nil }
        return (data, end + checksumCount)
    }

    /// The step of an event; 0 where it tells none, or is none.
    private static func step(of event: ArraySlice<UInt8>) -> Int {
        // Time comes first, the step behind it; as `piece` writes them.
        guard event.count > timeCount + 1, event[event.startIndex + timeCount] == 2 << 3 else { return 0 }
        var step: UInt64 = 0
        for (place, byte) in event.dropFirst(timeCount + 1).prefix(9).enumerated() {
            step |= UInt64(byte & 0x7F) << UInt64(7 * place)
            if byte & 0x80 == 0 { break }
        }
        return Int(clamping: step)
    }

    /// CRC-32C, rotated and offset as TensorFlow stores it.
    static func maskedChecksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        let checksum = ~bytes.reduce(~UInt32(0)) { checksumTable[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] ^ $0 >> 8 }
        return (checksum >> 15 | checksum << 17) &+ 0xA282_EAD8
    }

    /// Castagnoli's polynomial, reflected.
    private static let checksumTable: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { value, _ in value & 1 == 1 ? 0x82F6_3B78 ^ value >> 1 : value >> 1 }
    }

    /// A number's bytes, the lowest first.
    static func littleEndian<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
        (0..<Number.bitWidth / 8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
    }
}

/// A message in the wire format of protocol buffers.
struct ProtocolMessage {
    /// The fields so far.
    private(set) var bytes: [UInt8] = []

    private mutating func add(variable number: UInt64) {
        var rest = number
        while rest >= 0x80 {
            bytes.append(UInt8(rest & 0x7F) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    /// A whole number.
    mutating func add(_ field: UInt64, integer: UInt64) {
        add(variable: field << 3)
        add(variable: integer)
    }

    /// A double.
    mutating func add(_ field: UInt64, double: Double) {
        add(variable: field << 3 | 1)
        bytes += EventFile.littleEndian(double.bitPattern)
    }

    /// A float.
    mutating func add(_ field: UInt64, float: Float) {
        add(variable: field << 3 | 5)
        bytes += EventFile.littleEndian(float.bitPattern)
    }

    /// Bytes: a text or another message.
    mutating func add(_ field: UInt64, bytes value: [UInt8]) {
        add(variable: field << 3 | 2)
        add(variable: UInt64(value.count))
        bytes += value
    }
}
