import Synchronization

/// Entries by patterns, of which the first that matches a path counts; looked up, since files with an entry for each of
/// many thousand modules are common.
///
/// A pattern of letters, digits, underscores and dots, a module's name or path, matches a path of printable ASCII where
/// that is the same but for the dots, which match any character, or ends so behind a dot. Such patterns are found by the
/// ends of the path: those of one length and with dots in the same places share a dictionary, in which an end is looked
/// up with dots in these places. All others are tried one after the other.
final class PatternTable<Value: Sendable & Equatable>: Sendable {
    /// Plain patterns of one length with dots in the same places.
    private struct Form {
        let dots: [Int]
        /// The first entry of each.
        var places: [[UInt8]: Int]
    }

    /// In the order of the file.
    let entries: [PatternEntry<Value>]
    /// By the length of the pattern.
    private let forms: [Int: [Form]]
    /// The places of the entries that are no plain patterns.
    private let others: [Int]
    /// Compiled when they are first needed.
    private let expressions = Mutex<[Int: PathExpression]>([:])

    private static var dot: UInt8 { UInt8(ascii: ".") }

    init(_ entries: [PatternEntry<Value>]) {
        self.entries = entries
        var forms: [Int: [Form]] = [:]
        var others: [Int] = []
        for (place, entry) in entries.enumerated() {
            guard entry.isPlain else {
                others.append(place)
                continue
            }
            let pattern = Array(entry.pattern.utf8)
            let dots = pattern.indices.filter { pattern[$0] == Self.dot }
            // In its place: a list that is taken out and put back is copied for every entry.
            let length = pattern.count
            let known = forms[length]?.firstIndex { $0.dots == dots }
            if known == nil { forms[length, default: []].append(Form(dots: dots, places: [:])) }
            let form = known ?? (forms[length]?.count ?? 1) - 1
            if forms[length]?[form].places[pattern] == nil { forms[length]?[form].places[pattern] = place }
        }
        self.forms = forms
        self.others = others
    }

    /// The value of the first entry that matches `path`; nil for none.
    func first(matching path: String) -> Value? {
        guard !entries.isEmpty else { return nil }
        let bytes = Array(path.utf8)
        guard bytes.allSatisfy(Self.isPrintable) else { return entries.indices.first { matches($0, path) }.map(value) }
        let plain = firstPlain(bytes)
        if let other = others.first(where: { $0 < plain && matches($0, path) }) { return value(other) }
        return plain < entries.count ? value(plain) : nil
    }

    private func value(_ place: Int) -> Value { entries[place].value }

    /// The place of the first plain entry that matches; as many as there are entries for none.
    private func firstPlain(_ path: [UInt8]) -> Int {
        var first = entries.count
        for start in path.indices where start == 0 || path[start - 1] == Self.dot {
            for form in forms[path.count - start] ?? [] {
                var end = Array(path[start...])
                for dot in form.dots { end[dot] = Self.dot }
                if let place = form.places[end] { first = min(first, place) }
            }
        }
        return first
    }

    /// Whether the expression of an entry matches.
    private func matches(_ place: Int, _ path: String) -> Bool {
        expressions.withLock { expressions in
            // `check` has compiled every pattern, so this one compiles.
            guard let expression = expressions[place] ?? (try? entries[place].expression) else { return false }
            expressions[place] = expression
            return (try? expression.matchesWhole(path)) ?? false
        }
    }

    private static func isPrintable(_ byte: UInt8) -> Bool { (0x20..<0x7F).contains(byte) }
}

extension PatternTable: Equatable {
    static func == (left: PatternTable, right: PatternTable) -> Bool { left.entries == right.entries }
}
