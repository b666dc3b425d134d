import CheckpointIO
import Glibc
import TensorCore
import Training

/// The run's figures for TensorBoard: a file of TFRecords (length, masked CRC, bytes, masked CRC; all little-endian),
/// each an `Event` of tensorflow/core/util/event.proto with one or more scalars.
final class EventFile: RunRecord {
    private let folder: String
    private let file: GrowingFile
    private let now: () -> Double

    /// The file's name in its folder, which TensorBoard knows by `tfevents`.
    static let fileName = "events.out.tfevents.tspeft"

    /// A file in `folder`, which is made where it is missing in the folder above. `now` tells the seconds since 1970.
    init(folder: String, now: @escaping () -> Double = EventFile.clock) {
        self.folder = folder
        file = GrowingFile(path: joinedPath(folder, Self.fileName))
        self.now = now
    }

    /// The wall clock.
    static func clock() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    var place: String { isNamed(folder) ? file.path : folder }

    func begin(after step: Int?) throws(CheckpointError) {
        guard mkdir(folder, 0o777) == 0 || errno == EEXIST else { throw creationFailure(folder, errno) }
        if try file.open(after: step, keeping: Self.keptCount) {
            var event = ProtocolMessage()
            event.add(1, double: now())
            event.add(3, bytes: Array("brain.Event:2".utf8))
            try file.append(Self.record(event.bytes))
        }
    }

    func add(_ event: TrainingEvent) throws(CheckpointError) {
        switch event {
        case .step(let report): try add(step: report.step, Self.scalars(report))
        case .partialEvaluation(let data, let step, let loss, let details):
            try add(step: step, Self.scalars("eval/\(data)/", loss, details))
        case .evaluation(let step, let loss, let details): try add(step: step, Self.scalars("eval/", loss, details))
        default: break
        }
    }

    private func add(step: Int, _ scalars: [(tag: String, value: Double)]) throws(CheckpointError) {
        var summary = ProtocolMessage()
        for scalar in scalars {
            var value = ProtocolMessage()
            value.add(1, bytes: Array(scalar.tag.utf8))
            value.add(2, float: Float(scalar.value))
            summary.add(1, bytes: value.bytes)
        }
        var event = ProtocolMessage()
        event.add(1, double: now())
        event.add(2, integer: UInt64(step))
        event.add(5, bytes: summary.bytes)
        try file.append(Self.record(event.bytes))
    }

    private static func scalars(_ report: StepReport) -> [(tag: String, value: Double)] {
        var scalars = [
            ("train/loss", report.loss), ("train/learning_rate", report.learningRate),
            ("train/gradient_norm", report.gradientNorm),
            ("train/tokens_per_second", Double(report.tokens) / max(report.seconds, 1e-9)),
            ("train/epoch", report.epoch),
        ]
        if report.penalty != 0 { scalars.append(("train/penalty", report.penalty)) }
        if let rank = report.meanRank { scalars.append(("train/mean_rank", rank)) }
        if let sparsity = report.sparsity { scalars.append(("train/sparsity", sparsity)) }
        if let taus = report.tauRange {
            scalars += [("train/tau_min", Double(taus.lowerBound)), ("train/tau_max", Double(taus.upperBound))]
        }
        return scalars
    }

    private static func scalars(
        _ prefix: String, _ loss: Double, _ details: JSONObject
    ) -> [(tag: String, value: Double)] {
        [(prefix + "loss", loss)]
            + details.members.compactMap { key, value in value.doubleValue.map { (prefix + key, $0) } }
    }
}

// MARK: - TFRecords

extension EventFile {
    /// A record of `data`.
    static func record(_ data: [UInt8]) -> [UInt8] {
        let length = littleEndian(UInt64(data.count))
        return length + littleEndian(maskedChecksum(length[...])) + data + littleEndian(maskedChecksum(data[...]))
    }

    /// The bytes of whole, sound records that tell of steps up to `step`; 0 for a file that does not begin with one.
    static func keptCount(of bytes: [UInt8], upTo step: Int) -> Int {
        var kept = 0
        while let next = record(at: kept, of: bytes), self.step(of: next.data) <= step { kept = next.end }
        return kept
    }

    /// The record that begins at `start`, if it is whole and its checksums hold.
    private static func record(at start: Int, of bytes: [UInt8]) -> (data: ArraySlice<UInt8>, end: Int)? {
        let headerCount = 12
        guard bytes.count - start >= headerCount + 4 else { return nil }
        let length = bytes[start..<start + 8]
        let count = length.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard Array(bytes[start + 8..<start + headerCount]) == littleEndian(maskedChecksum(length)),
            count <= UInt64(bytes.count - start - headerCount - 4)
        else { return nil }
        let end = start + headerCount + Int(count)
        let data = bytes[start + headerCount..<end]
        guard Array(bytes[end..<end + 4]) == littleEndian(maskedChecksum(data)) else { return nil }
        return (data, end + 4)
    }

    /// The step of an event; 0 where it tells none, or is none.
    private static func step(of event: ArraySlice<UInt8>) -> Int {
        // Time, 9 bytes, comes first, the step behind it; as `add` writes them.
        guard event.count > 10, event[event.startIndex + 9] == 2 << 3 else { return 0 }
        var step: UInt64 = 0
        for (place, byte) in event.dropFirst(10).prefix(9).enumerated() {
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
