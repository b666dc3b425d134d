import CheckpointIO

/// The run's steps and evaluations as a table for spreadsheets: comma-separated values, a line an event.
struct StepTable: RunRecordForm {
    let path: String

    var place: String { path }
    var outerFolder: String { parentDirectory(of: path) }

    var measures = ["perplexity"]

    /// The columns, and the end of their line.
    var heading: String {
        "event,step,epoch,loss,\(measures.joined(separator: ",")),learning_rate,gradient_norm,penalty,mean_rank,sparsity,"
            + "tau_min,tau_max,tokens,scored_tokens,seconds,data\n"
    }

    func header() -> [UInt8] { Array(heading.utf8) }

    func piece(of line: JSONObject) -> [UInt8]? {
        guard let event = line["event"]?.stringValue, event == "step" || event == "evaluation" else { return nil }
        let values = heading.dropLast().split(separator: ",").map { column in
            switch column {
            case "event": event
            case "data": Self.quoted(line["data"]?.stringValue ?? "")
            default: line[String(column)].flatMap { $0.isNull ? nil : $0.text() } ?? ""
            }
        }
        return Array((values.joined(separator: ",") + "\n").utf8)
    }

    func pieces(of bytes: [UInt8], upTo step: Int) -> [ArraySlice<UInt8>] {
        let heading = header()
        guard bytes.starts(with: heading) else { return [] }
        var pieces = [bytes[..<heading.count]]
        var rest = bytes[heading.count...]
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            let fields = String(decoding: rest[..<end], as: UTF8.self).split(
                separator: ",", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3, let found = Int(fields[1]), found <= step else { break }
            pieces.append(rest[...end])
            rest = rest[(end + 1)...]
        }
        return pieces
    }

    func key(of piece: ArraySlice<UInt8>) -> [UInt8] { Array(piece) }

    /// A text as RFC 4180 has it.
    private static func quoted(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { !",\"\r\n".utf8.contains($0) }
        // A line's end would end the event.
        let oneLine = text.map { $0.isNewline ? " " : String($0) }.joined()
        return isPlain ? text : "\"" + oneLine.replacing("\"", with: "\"\"") + "\""
    }
}
