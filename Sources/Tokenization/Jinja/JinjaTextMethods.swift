/// The methods that Python's `str` has.
extension JinjaRun {
    static let textMethods: Set<String> = [
        "capitalize", "casefold", "center", "count", "encode", "endswith", "expandtabs", "find", "format",
        "format_map", "index", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower",
        "isnumeric", "isprintable", "isspace", "istitle", "isupper", "join", "ljust", "lower", "lstrip", "maketrans",
        "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rjust", "rpartition", "rsplit",
        "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "translate", "upper", "zfill",
    ]
    /// What safe HTML has beside.
    static let markupMethods: Set<String> = ["striptags", "unescape", "escape"]

    /// `text.name(arguments)`
    func textMethod(_ name: String, of text: JinjaText, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        try spend(text.count / 64)
        switch name {
        case "upper", "lower", "capitalize", "title", "swapcase", "casefold":
            _ = try bind(call, [], of: name)
            return .text(JinjaLetters.changed(text, name))
        case "strip", "lstrip", "rstrip": return .text(try stripped(text, name, call))
        case "split", "rsplit": return try split(text, name, call)
        case "splitlines":
            let keepsEnds = try bind(call, ["keepends"], of: name)[0]?.isTrue ?? false
            return try list(lines(of: text, keepingEnds: keepsEnds).map { .text($0) })
        case "partition", "rpartition": return try partition(text, name, call)
        case "replace": return .text(try replaced(text, call))
        case "join":
            return .text(try joined(elements(of: bind(call, ["_iterable"], required: 1, of: name)[0]!), by: text))
        case "find", "rfind", "index", "rindex", "count": return .integer(try found(in: text, name, call))
        case "startswith", "endswith": return .bool(try affixStands(in: text, name, call))
        case "removeprefix", "removesuffix": return .text(try withoutAffix(text, name, call))
        case "center", "ljust", "rjust", "zfill": return .text(try padded(text, name, call))
        case "expandtabs": return .text(try expanded(text, call))
        case "format": return .text(try format(text, call))
        case "format_map":
            let members = try bind(call, ["_mapping"], required: 1, of: name)[0] ?? .none
            return .text(try format(text, JinjaCall(), members: members))
        case "maketrans", "translate": return try translation(name, text, call)
        case "striptags", "unescape": return .text(try withoutMarkup(text, name, call))
        case "escape": return .text(try escaped(string(of: bind(call, ["s"], required: 1, of: name)[0]!)))
        case "encode": throw .failed("it has the method 'encode' of a text")
        default:
            _ = try bind(call, [], of: name)
            return .bool(JinjaLetters.holds(text, name))
        }
    }

    /// An argument of a method of markup is escaped, as markupsafe does.
    private func argument(_ value: JinjaValue?, _ name: String, for text: JinjaText) throws(JinjaError) -> JinjaText? {
        guard let argument = try self.text(value, of: name) else { return nil }
        return text.isMarkup ? try escaped(argument) : argument
    }

    // MARK: Ends

    private func stripped(_ text: JinjaText, _ name: String, _ call: JinjaCall) throws(JinjaError) -> JinjaText {
        let dropped = try bind(call, ["_chars"], of: name)[0]
        guard let dropped, !dropped.isNone else {
            return text.trimmed(start: name != "rstrip", end: name != "lstrip", where: JinjaText.isSpace)
        }
        let scalars = Set(try self.text(dropped, of: name)?.scalars ?? [])
        return text.trimmed(start: name != "rstrip", end: name != "lstrip") { scalars.contains($0) }
    }

    private func affixStands(in text: JinjaText, _ name: String, _ call: JinjaCall) throws(JinjaError) -> Bool {
        let values = try bind(call, ["_affix", "_start", "_end"], required: 1, of: name)
        let start = try integer(optional(values[1]), of: name) ?? 0
        let stop = try integer(optional(values[2]), of: name) ?? .max
        var affixes: [JinjaValue] = [values[0] ?? .none]
        if case .tuple(let list) = affixes[0] { affixes = list.elements }
        let first = Self.clamp(start, text.count)
        let last = Self.clamp(stop, text.count)
        for affix in affixes {
            guard let affix = try self.text(affix, of: name)?.scalars else { continue }
            guard start <= text.count, first <= last, affix.count <= last - first else { continue }
            if text.stands(affix, at: name == "startswith" ? first : last - affix.count) { return true }
        }
        return false
    }

    private func optional(_ value: JinjaValue?) -> JinjaValue? { value?.isNone ?? true ? nil : value }

    private func withoutAffix(_ text: JinjaText, _ name: String, _ call: JinjaCall) throws(JinjaError) -> JinjaText {
        let affix = try self.text(bind(call, ["_affix"], required: 1, of: name)[0], of: name)?.scalars ?? []
        if name == "removeprefix" { return text.stands(affix, at: 0) ? text[affix.count..<text.count] : text }
        guard !affix.isEmpty, text.stands(affix, at: text.count - affix.count) else { return text }
        return text[0..<text.count - affix.count]
    }

    private func padded(_ text: JinjaText, _ name: String, _ call: JinjaCall) throws(JinjaError) -> JinjaText {
        let values = try bind(call, name == "zfill" ? ["_width"] : ["_width", "_fill"], required: 1, of: name)
        let width = try integer(values[0], of: name) ?? 0
        var fill: Unicode.Scalar = name == "zfill" ? "0" : " "
        if values.count > 1, let given = try self.text(values[1], of: name) {
            guard given.count == 1 else { throw .failed("'\(name)' fills with other than one character") }
            fill = given.scalars[0]
        }
        try spendText(max(0, width))
        if name == "zfill" {
            guard width > text.count else { return text }
            let sign = text.scalars.first == "-" || text.scalars.first == "+" ? 1 : 0
            var result = text[0..<sign]
            for _ in 0..<width - text.count { result.append(fill) }
            result.append(text[sign..<text.count])
            return result
        }
        return Self.padded(text, to: width, fill, name == "center" ? "^" : name == "ljust" ? "<" : ">")
    }

    /// A text with `fill` at its ends so that it has `width` characters: `<` fills behind, `>` before, `^` on both
    /// sides, in the way of `str.center`.
    static func padded(_ text: JinjaText, to width: Int, _ fill: Unicode.Scalar, _ side: Unicode.Scalar) -> JinjaText {
        guard width > text.count else { return text }
        let missing = width - text.count
        let left = side == "<" ? 0 : side == ">" ? missing : missing / 2 + (missing & width & 1)
        var result = JinjaText(scalars: Array(repeating: fill, count: left))
        result.isMarkup = text.isMarkup
        result.append(text)
        for _ in 0..<missing - left { result.append(fill) }
        return result
    }

    private func expanded(_ text: JinjaText, _ call: JinjaCall) throws(JinjaError) -> JinjaText {
        let size = try integer(bind(call, ["tabsize"], of: "expandtabs")[0], of: "expandtabs") ?? 8
        let tabs = text.scalars.count { $0 == "\t" }
        let (length, overflow) = tabs.multipliedReportingOverflow(by: max(0, size))
        try spendText(overflow ? .max : length)
        var column = 0
        return text.mapped { scalar, _, scalars in
            if scalar == "\t" {
                let count = size > 0 ? size - column % size : 0
                for _ in 0..<count { scalars.append(" ") }
                column += count
            } else {
                column = scalar == "\n" || scalar == "\r" ? 0 : column + 1
                scalars.append(scalar)
            }
        }
    }

    // MARK: Parts

    private func split(_ text: JinjaText, _ name: String, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        let values = try bind(call, ["sep", "maxsplit"], of: name)
        let limit = try integer(values[1], of: name) ?? -1
        let count = limit < 0 ? Int.max : limit
        guard let separator = optional(values[0]) else {
            try spend(Self.wordCount(of: text))
            return try list(Self.words(of: text, limit: count, fromEnd: name == "rsplit").map { .text($0) })
        }
        let wanted = try self.text(separator, of: name)?.scalars ?? []
        if wanted.isEmpty { throw .failed("'\(name)' gets an empty separator") }
        var (places, place) = (0, 0)
        while places < count, let next = text.place(of: wanted, from: place) {
            (places, place) = (places + 1, next + wanted.count)
        }
        try spend(places)
        return try list(Self.parts(of: text, at: wanted, limit: count, fromEnd: name == "rsplit").map { .text($0) })
    }

    private static func wordCount(of text: JinjaText) -> Int {
        text.scalars.indices.count { index in
            !JinjaText.isSpace(text.scalars[index]) && (index == 0 || JinjaText.isSpace(text.scalars[index - 1]))
        }
    }

    /// The lines of a text, which are paid for before they are made.
    func lines(of text: JinjaText, keepingEnds: Bool = false) throws(JinjaError) -> [JinjaText] {
        try spend(text.count / 64 + JinjaLetters.lineEndCount(of: text))
        return JinjaLetters.lines(of: text, keepingEnds: keepingEnds)
    }

    /// The stretches between white space, at most `limit` cuts from the beginning or the end.
    static func words(of text: JinjaText, limit: Int, fromEnd: Bool) -> [JinjaText] {
        var words: [JinjaText] = []
        let scalars = text.scalars
        var (first, last) = (0, scalars.count)
        while true {
            if fromEnd {
                while last > first, JinjaText.isSpace(scalars[last - 1]) { last -= 1 }
            } else {
                while first < last, JinjaText.isSpace(scalars[first]) { first += 1 }
            }
            guard first < last else { break }
            if words.count == limit {
                // What is left keeps the white space inside it, and at the end that is not cut from.
                while fromEnd, first < last, JinjaText.isSpace(scalars[first]) { first += 1 }
                while !fromEnd, first < last, JinjaText.isSpace(scalars[last - 1]) { last -= 1 }
                words.append(text[(fromEnd ? 0 : first)..<(fromEnd ? last : scalars.count)])
                break
            }
            var end = fromEnd ? last : first
            if fromEnd {
                while end > first, !JinjaText.isSpace(scalars[end - 1]) { end -= 1 }
                words.append(text[end..<last])
                last = end
            } else {
                while end < last, !JinjaText.isSpace(scalars[end]) { end += 1 }
                words.append(text[first..<end])
                first = end
            }
        }
        return fromEnd ? words.reversed() : words
    }

    /// The stretches between places of `separator`, at most `limit` cuts from the beginning or the end.
    static func parts(
        of text: JinjaText, at separator: [Unicode.Scalar], limit: Int, fromEnd: Bool = false
    ) -> [JinjaText] {
        var parts: [JinjaText] = []
        if fromEnd {
            var end = text.count
            while parts.count < limit, let place = text.lastPlace(of: separator, to: end) {
                parts.append(text[place + separator.count..<end])
                end = place
            }
            parts.append(text[0..<end])
            return parts.reversed()
        }
        var start = 0
        while parts.count < limit, let place = text.place(of: separator, from: start) {
            parts.append(text[start..<place])
            start = place + separator.count
        }
        parts.append(text[start..<text.count])
        return parts
    }

    private func partition(_ text: JinjaText, _ name: String, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        let separator = try argument(bind(call, ["_sep"], required: 1, of: name)[0], name, for: text)?.scalars ?? []
        if separator.isEmpty { throw .failed("'\(name)' gets an empty separator") }
        let isLast = name == "rpartition"
        guard let place = isLast ? text.lastPlace(of: separator) : text.place(of: separator) else {
            var empty = JinjaText()
            empty.isMarkup = text.isMarkup
            let parts = isLast ? [empty, empty, text] : [text, empty, empty]
            return try tuple(parts.map { .text($0) })
        }
        let end = place + separator.count
        return try tuple([.text(text[0..<place]), .text(text[place..<end]), .text(text[end..<text.count])])
    }

    private func replaced(_ text: JinjaText, _ call: JinjaCall) throws(JinjaError) -> JinjaText {
        let values = try bind(call, ["_old", "_new", "_count"], required: 2, of: "replace")
        let old = try argument(values[0], "replace", for: text) ?? JinjaText()
        let new = try argument(values[1], "replace", for: text) ?? JinjaText()
        return try replaced(text, old, by: new, count: integer(values[2], of: "replace") ?? -1)
    }

    /// A text with the first `count` places of another replaced, all for a negative count.
    func replaced(
        _ text: JinjaText, _ old: JinjaText, by new: JinjaText, count: Int
    ) throws(JinjaError) -> JinjaText {
        let limit = count < 0 ? Int.max : count
        if limit == 0 { return text }
        var result = JinjaText()
        result.isMarkup = text.isMarkup
        var done = 0
        if old.isEmpty {
            for index in 0...text.count {
                if done < limit {
                    result.append(new)
                    done += 1
                    try spendText(new.count + 1)
                    try checkText(result.count)
                }
                if index < text.count { result.append(text[index..<index + 1]) }
            }
            return result
        }
        var start = 0
        while done < limit, let place = text.place(of: old.scalars, from: start) {
            result.append(text[start..<place])
            result.append(new)
            start = place + old.count
            done += 1
            try spendText(new.count + 1)
            try checkText(result.count)
        }
        result.append(text[start..<text.count])
        return result
    }

    /// The texts of a list with another between them.
    func joined(_ values: [JinjaValue], by separator: JinjaText) throws(JinjaError) -> JinjaText {
        var result = JinjaText()
        result.isMarkup = separator.isMarkup
        for (index, value) in values.enumerated() {
            guard case .text(var text) = value else { throw .failed("'join' meets \(value.kind), not a text") }
            if separator.isMarkup { text = try escaped(text) }
            if index > 0 { result.append(separator) }
            result.append(text)
            try spendText(text.count + separator.count)
            try checkText(result.count)
        }
        return result
    }

    private func found(in text: JinjaText, _ name: String, _ call: JinjaCall) throws(JinjaError) -> Int {
        let values = try bind(call, ["_sub", "_start", "_end"], required: 1, of: name)
        let wanted = try self.text(values[0], of: name)?.scalars ?? []
        let start = try integer(optional(values[1]), of: name) ?? 0
        let first = Self.clamp(start, text.count)
        let last = Self.clamp(try integer(optional(values[2]), of: name) ?? .max, text.count)
        let isPossible = start <= text.count && first <= last
        if name == "count" {
            guard isPossible else { return 0 }
            if wanted.isEmpty { return last - first + 1 }
            var (count, place) = (0, first)
            while let next = text.place(of: wanted, from: place, to: last) {
                (count, place) = (count + 1, next + wanted.count)
            }
            return count
        }
        let place =
            !isPossible
            ? nil
            : name.hasPrefix("r")
                ? text.lastPlace(of: wanted, from: first, to: last) : text.place(of: wanted, from: first, to: last)
        if let place { return place }
        if name.hasSuffix("find") { return -1 }
        throw .failed("'\(name)' does not find its text")
    }

    // MARK: Translation

    private func translation(_ name: String, _ text: JinjaText, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        if name == "translate" {
            guard case .dictionary(let table) = try bind(call, ["_table"], required: 1, of: name)[0] else {
                throw .failed("'translate' gets no dictionary")
            }
            return .text(try translated(text, table))
        }
        let values = try bind(call, ["_x", "_y", "_z"], required: 1, of: name)
        var members: [(key: JinjaValue, value: JinjaValue)] = []
        if case .dictionary(let table) = values[0] {
            for member in table.members {
                let key = member.key.asText
                guard key == nil || key?.count == 1 else {
                    throw .failed("'maketrans' gets a key of several characters")
                }
                members.append((key.map { .integer(Int($0.scalars[0].value)) } ?? member.key, member.value))
            }
            return try dictionary(members)
        }
        let from = try self.text(values[0], of: name)?.scalars ?? []
        let to = try self.text(values[1], of: name)?.scalars ?? []
        guard from.count == to.count, values[1] != nil else {
            throw .failed("'maketrans' gets texts of unequal length")
        }
        for (from, to) in zip(from, to) { members.append((.integer(Int(from.value)), .integer(Int(to.value)))) }
        for dropped in try self.text(values[2], of: name)?.scalars ?? [] {
            members.append((.integer(Int(dropped.value)), .none))
        }
        return try dictionary(members)
    }

    private func translated(_ text: JinjaText, _ table: JinjaDictionary) throws(JinjaError) -> JinjaText {
        var changes: [Unicode.Scalar: [Unicode.Scalar]] = [:]
        var length = 0
        for scalar in Set(text.scalars) {
            guard let value = table[.integer(Int(scalar.value))] else { continue }
            switch value {
            case .none: changes[scalar] = []
            case .text(let text): changes[scalar] = text.scalars
            default:
                guard let code = value.asInteger.flatMap(UInt32.init(exactly:)), let other = Unicode.Scalar(code) else {
                    throw .failed("'translate' makes a character of \(value.kind)")
                }
                changes[scalar] = [other]
            }
            length = max(length, changes[scalar]?.count ?? 0)
        }
        let (most, overflow) = length.multipliedReportingOverflow(by: text.count)
        try spendText(overflow ? .max : most)
        return text.mapped { scalar, _, scalars in scalars += changes[scalar] ?? [scalar] }
    }
}
