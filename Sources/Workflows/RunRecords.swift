import CheckpointIO
import Glibc
import TensorCore
import Training

/// A file outside the run's directory that is told of each event, and goes on where a resumed run does.
protocol RunRecord: AnyObject {
    /// What goes with the file where the run leaves nothing: the file, or the folder that it needs and that is not there.
    var place: String { get }
    /// Begins the file anew, or after `step` where the run goes on from there.
    func begin(after step: Int?) throws(CheckpointError)
    /// Writes what an event says.
    func add(_ event: TrainingEvent) throws(CheckpointError)
}

/// Whether anything has that name, be it a link that leads nowhere.
func isNamed(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0
}

/// A file that grows by whole pieces. Owns its descriptor.
final class GrowingFile {
    /// Its path.
    let path: String
    private var descriptor: Int32 = -1

    init(path: String) { self.path = path }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }

    /// Opens the file and adds to its end from then on: empty, or where a run goes on after `step`, with as many of its
    /// bytes as `keptCount` says that tell of steps up to there. Gives whether nothing was kept.
    func open(
        after step: Int?, keeping keptCount: (_ bytes: [UInt8], _ step: Int) -> Int
    ) throws(CheckpointError) -> Bool {
        let kept: Int
        if let step, pathKind(path) != .nothing {
            kept = keptCount(try readSmallFile(path, limit: 1 << 30), step)
        } else {
            kept = 0
        }
        // A link that leads nowhere is no name for a new file.
        let flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (pathKind(path) == .nothing ? O_NOFOLLOW : 0)
        descriptor = retryingOnInterrupt { Glibc.open(path, flags, 0o666) }
        guard descriptor >= 0 else { throw creationFailure(path, errno) }
        guard retryingOnInterrupt({ ftruncate(descriptor, kept) }) == 0 else {
            throw .writeFailed(path: path, code: errno)
        }
        return kept == 0
    }

    /// Adds bytes.
    func append(_ bytes: [UInt8]) throws(CheckpointError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if written < 0 {
                if errno == EINTR { continue }
                throw .writeFailed(path: path, code: errno)
            }
            rest = rest.dropFirst(written)
        }
    }
}

/// The run's steps and evaluations as a table for spreadsheets: comma-separated values, a line an event.
final class StepTable: RunRecord {
    private let file: GrowingFile
    /// What evaluations measure beside the loss.
    var measures = ["perplexity"]

    /// The columns of a language model's run, and the end of their line.
    static var header: String { header(measures: ["perplexity"]) }

    private static func header(measures: [String]) -> String {
        "event,step,epoch,loss,\(measures.joined(separator: ",")),learning_rate,gradient_norm,penalty,mean_rank,sparsity,"
            + "tau_min,tau_max,tokens,scored_tokens,seconds,data\n"
    }

    private var header: String { Self.header(measures: measures) }

    init(path: String) { file = GrowingFile(path: path) }

    var place: String { file.path }

    func begin(after step: Int?) throws(CheckpointError) {
        if try file.open(after: step, keeping: keptCount) { try file.append(Array(header.utf8)) }
    }

    /// The bytes of whole lines that tell of steps up to `step`; 0 for a file that is no such table.
    func keptCount(of bytes: [UInt8], upTo step: Int) -> Int {
        guard bytes.starts(with: Array(header.utf8)) else { return 0 }
        var kept = header.utf8.count
        while let end = bytes[kept...].firstIndex(of: UInt8(ascii: "\n")) {
            let fields = String(decoding: bytes[kept..<end], as: UTF8.self).split(
                separator: ",", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3, let found = Int(fields[1]), found <= step else { break }
            kept = end + 1
        }
        return kept
    }

    func add(_ event: TrainingEvent) throws(CheckpointError) {
        switch event {
        case .step(let report): try file.append(line("step", report.json))
        case .partialEvaluation(let data, let step, let loss, let details):
            try file.append(line("evaluation", Self.fields(step, loss, details), data: data))
        case .evaluation(let step, let loss, let details):
            try file.append(line("evaluation", Self.fields(step, loss, details)))
        default: break
        }
    }

    private static func fields(_ step: Int, _ loss: Double, _ details: JSONObject) -> JSONObject {
        var fields: JSONObject = ["step": .integer(step), "loss": .real(loss)]
        for (key, value) in details.members { fields[key] = value }
        return fields
    }

    private func line(_ event: String, _ fields: JSONObject, data: String = "") -> [UInt8] {
        let columns = header.dropLast().split(separator: ",").map(String.init)
        let values = columns.map { column in
            switch column {
            case "event": event
            case "data": Self.quoted(data)
            default: fields[column].flatMap { $0.isNull ? nil : $0.text() } ?? ""
            }
        }
        return Array((values.joined(separator: ",") + "\n").utf8)
    }

    /// A text as RFC 4180 has it.
    private static func quoted(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { !",\"\r\n".utf8.contains($0) }
        // A line's end would end the event.
        let oneLine = text.map { $0.isNewline ? " " : String($0) }.joined()
        return isPlain ? text : "\"" + oneLine.replacing("\"", with: "\"\"") + "\""
    }
}
