/// What Python's `pprint.pformat` makes of a value: dictionaries sorted, and broken into lines of 80 characters.
struct JinjaPrettyText {
    private static let width = 80
    private let run: JinjaRun
    private var text = JinjaText()

    private init(_ run: JinjaRun) {
        self.run = run
    }

    static func text(of value: JinjaValue, in run: JinjaRun) throws(JinjaError) -> JinjaText {
        var writer = JinjaPrettyText(run)
        try writer.append(value, indent: 0, allowance: 0, level: 0)
        return writer.text
    }

    /// Writes a value at a column, with room for `allowance` characters behind it.
    private mutating func append(
        _ value: JinjaValue, indent: Int, allowance: Int, level: Int
    ) throws(JinjaError) {
        try run.enter()
        defer { run.leave() }
        let plain = try run.representation(of: sorted(value))
        guard plain.count > Self.width - indent - allowance else { return text.append(plain) }
        switch value {
        case .list(let list):
            text.append("[")
            try append(list.elements, indent: indent, allowance: allowance + 1, level: level + 1)
            text.append("]")
        case .tuple(let list) where !list.isGroup:
            let end = list.elements.count == 1 ? ",)" : ")"
            text.append("(")
            try append(list.elements, indent: indent, allowance: allowance + end.count, level: level + 1)
            text.append(end)
        case .dictionary:
            guard case .dictionary(let dictionary) = try sorted(value) else { return }
            try append(dictionary, indent: indent, allowance: allowance + 1, level: level + 1)
        case .text(let string) where !string.isMarkup: try append(string, indent, allowance, level: level + 1)
        default: text.append(plain)
        }
    }

    private mutating func append(
        _ elements: [JinjaValue], indent: Int, allowance: Int, level: Int
    ) throws(JinjaError) {
        for (index, element) in elements.enumerated() {
            if index > 0 { text.append(",\n" + String(repeating: " ", count: indent + 1)) }
            let isLast = index == elements.count - 1
            try append(element, indent: indent + 1, allowance: isLast ? allowance : 1, level: level)
        }
    }

    private mutating func append(
        _ dictionary: JinjaDictionary, indent: Int, allowance: Int, level: Int
    ) throws(JinjaError) {
        text.append("{")
        for (index, member) in dictionary.members.enumerated() {
            if index > 0 { text.append(",\n" + String(repeating: " ", count: indent + 1)) }
            let key = try run.representation(of: sorted(member.key))
            text.append(key)
            text.append(": ")
            let isLast = index == dictionary.count - 1
            try append(
                member.value, indent: indent + key.count + 3, allowance: isLast ? allowance : 1, level: level)
        }
        text.append("}")
    }

    /// A text in pieces, a line or as many words as fit each.
    private mutating func append(
        _ string: JinjaText, _ indent: Int, _ allowance: Int, level: Int
    ) throws(JinjaError) {
        let isWhole = level == 1
        let (indent, allowance) = isWhole ? (indent + 1, allowance + 1) : (indent, allowance)
        let width = Self.width - indent
        let lines = JinjaLetters.lines(of: string, keepingEnds: true)
        var pieces: [JinjaText] = []
        for (index, line) in lines.enumerated() {
            let room = index == lines.count - 1 ? allowance : 0
            let quoted = JinjaRun.quoted(line)
            if quoted.count <= width - room {
                pieces.append(quoted)
            } else {
                pieces += try words(of: line, width: width, allowance: room).map(JinjaRun.quoted)
            }
        }
        if pieces.count > 1, isWhole { text.append("(") }
        for (index, piece) in pieces.enumerated() {
            if index > 0 { text.append("\n" + String(repeating: " ", count: indent)) }
            text.append(piece)
        }
        if pieces.count > 1, isWhole { text.append(")") }
        try run.spendText(string.count)
    }

    private func words(of line: JinjaText, width: Int, allowance: Int) throws(JinjaError) -> [JinjaText] {
        var words: [Range<Int>] = []
        var start = 0
        while start < line.count {
            var end = start
            while end < line.count, !JinjaText.isSpace(line.scalars[end]) { end += 1 }
            while end < line.count, JinjaText.isSpace(line.scalars[end]) { end += 1 }
            words.append(start..<end)
            start = end
        }
        var pieces: [JinjaText] = []
        var piece = 0..<0
        for (index, word) in words.enumerated() {
            let room = index == words.count - 1 ? allowance : 0
            let candidate = piece.lowerBound..<word.upperBound
            try run.spend(candidate.count / 8)
            if JinjaRun.quoted(line[candidate]).count > width - room {
                if !piece.isEmpty { pieces.append(line[piece]) }
                piece = word
            } else {
                piece = candidate
            }
        }
        if !piece.isEmpty { pieces.append(line[piece]) }
        return pieces
    }

    /// A value with the members of its dictionaries in the order of their keys.
    private func sorted(_ value: JinjaValue) throws(JinjaError) -> JinjaValue {
        switch value {
        case .list(let list): return .list(try JinjaList(sorted(list.elements)))
        case .tuple(let list): return .tuple(try JinjaList(sorted(list.elements), isGroup: list.isGroup))
        case .dictionary(let dictionary):
            try run.spend(dictionary.count)
            let order = dictionary.members.sorted { Self.isBefore($0.key, $1.key) }
            var members: [(key: JinjaValue, value: JinjaValue)] = []
            for member in order { members.append((member.key, try sorted(member.value))) }
            return .dictionary(try JinjaDictionary(members))
        default: return value
        }
    }

    private func sorted(_ elements: [JinjaValue]) throws(JinjaError) -> [JinjaValue] {
        try run.spend(elements.count)
        var values: [JinjaValue] = []
        for element in elements { values.append(try sorted(element)) }
        return values
    }

    /// Keys without an order are in that of their types.
    private static func isBefore(_ left: JinjaValue, _ right: JinjaValue) -> Bool {
        (try? left.isLess(than: right)) ?? (left.typeName < right.typeName)
    }
}

extension JinjaValue {
    /// The name of Python's type of a key.
    fileprivate var typeName: String {
        switch self {
        case .none: "NoneType"
        case .bool: "bool"
        case .integer: "int"
        case .float: "float"
        case .text(let text): text.isMarkup ? "markupsafe.Markup" : "str"
        case .tuple: "tuple"
        default: "~"
        }
    }
}
