/// Ends a text where one of a set of texts begins, however the text comes in pieces: what may be the beginning of one is
/// held back until it is clear. Texts are told apart by their UTF-8 bytes.
package struct StopStrings: Sendable {
    private let stops: [[UInt8]]
    private var held: [UInt8] = []
    /// Whether one of the texts has come.
    package private(set) var isEnded = false

    /// - Parameter stops: the texts; empty ones end nothing.
    package init(_ stops: [String]) {
        self.stops = stops.map { Array($0.utf8) }.filter { !$0.isEmpty }
    }

    /// What of `text` and of what was held back is clear to be before any of the texts; nothing once one has come.
    package mutating func append(_ text: String) -> String {
        guard !isEnded else { return "" }
        if stops.isEmpty { return text }
        held += text.utf8
        if let place = held.indices.first(where: { place in stops.contains { held[place...].starts(with: $0) } }) {
            isEnded = true
            defer { held = [] }
            return String(decoding: held[..<place], as: UTF8.self)
        }
        let clear = held.indices.first { place in
            let rest = held[place...]
            return stops.contains { $0.starts(with: rest) }
        }
        let count = clear ?? held.count
        defer { held.removeFirst(count) }
        return String(decoding: held[..<count], as: UTF8.self)
    }

    /// What is held back at the end of the text, which has none of the texts.
    package mutating func finish() -> String {
        defer { held = [] }
        return String(decoding: held, as: UTF8.self)
    }
}
