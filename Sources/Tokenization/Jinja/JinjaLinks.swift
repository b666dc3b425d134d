/// The filter `urlize`: addresses in a text as links.
extension JinjaRun {
    func linked(_ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaText {
        let values = try bind(call, ["trim_url_limit", "nofollow", "target", "rel", "extra_schemes"], of: "urlize")
        if case .undefined(let problem) = value { throw .failed(problem) }
        var links = JinjaLinks()
        links.shownCount = try integer(JinjaValue.given(values[0]), of: "urlize")
        let given = try text(JinjaValue.given(values[3]), of: "urlize") ?? JinjaText()
        var relations = Set(Self.words(of: given, limit: .max, fromEnd: false).map(\.string))
        if values[1]?.isTrue ?? false { relations.insert("nofollow") }
        relations.insert("noopener")
        let ordered = relations.sorted { $0.unicodeScalars.lexicographicallyPrecedes($1.unicodeScalars) }
        links.attributes = " rel=\"" + (try escaped(JinjaText(ordered.joined(separator: " "))).string) + "\""
        if let target = JinjaValue.given(values[2]), target.isTrue {
            links.attributes += " target=\"" + (try escaped(string(of: target)).string) + "\""
        }
        if let schemes = JinjaValue.given(values[4]) {
            for scheme in try elements(of: schemes) {
                guard let scheme = scheme.asText, JinjaLinks.isScheme(scheme.scalars) else {
                    throw .failed("'urlize' gets what is no beginning of an address")
                }
                links.schemes.append(scheme.string)
            }
        }
        let escaped = try escaped(string(of: value))
        var result = JinjaText()
        var start = 0
        for index in 0...escaped.count {
            let isSpace = index < escaped.count && JinjaText.isSpace(escaped.scalars[index])
            guard index == escaped.count || isSpace else { continue }
            if start < index {
                let word = escaped[start..<index]
                // Telling an address takes time that grows with the square of its length.
                try spend(word.count > 4096 ? word.count : 1 + word.count * word.count / 64)
                if word.count > 4096 { result.append(word) } else { result.append(links.linked(word.string)) }
            }
            if isSpace { result.append(escaped.scalars[index]) }
            start = index + 1
            try checkText(result.count)
        }
        result.isMarkup = escapes
        return result
    }
}

/// Tells addresses by jinja's rules, and writes links to them.
struct JinjaLinks {
    var shownCount: Int?
    /// What a link has beside its address.
    var attributes = ""
    var schemes: [String] = []

    /// Whether a text may begin addresses: two letters and more, a colon, up to two slashes.
    static func isScheme(_ scalars: [Unicode.Scalar]) -> Bool {
        guard let colon = scalars.firstIndex(of: ":"), colon >= 2 else { return false }
        let isName = scalars[..<colon].allSatisfy { JinjaLetters.isWordPart($0) || $0 == "." || $0 == "+" || $0 == "-" }
        let rest = scalars[(colon + 1)...]
        return isName && rest.count <= 2 && rest.allSatisfy { $0 == "/" }
    }

    /// A word, as a link where it is an address.
    func linked(_ word: String) -> String {
        var (head, middle, tail) = ("", word[...], "")
        while let opening = ["(", "<", "&lt;"].first(where: middle.hasPrefix) {
            head += opening
            middle = middle.dropFirst(opening.count)
        }
        while let closing = [")", ">", ".", ",", "&gt;"].first(where: middle.hasSuffix) {
            tail = closing + tail
            middle = middle.dropLast(closing.count)
        }
        for (opening, closing) in [("(", ")"), ("<", ">"), ("&lt;", "&gt;")] {
            // What closes a bracket of the address is a part of it.
            let missing = count(opening, in: middle) - count(closing, in: middle)
            guard missing > 0 else { continue }
            for _ in 0..<min(count(opening, in: middle), count(closing, in: tail[...])) {
                guard let place = place(of: closing, in: tail) else { break }
                middle = (middle + tail[..<place])[...]
                tail = String(tail[place...])
            }
        }
        return head + link(String(middle)) + tail
    }

    private func count(_ part: String, in text: Substring) -> Int {
        JinjaRun.parts(of: JinjaText(String(text)), at: Array(part.unicodeScalars), limit: .max).count - 1
    }

    /// The place behind the first occurrence of a part.
    private func place(of part: String, in text: String) -> String.Index? {
        let place = JinjaText(text).place(of: Array(part.unicodeScalars))
        return place.map { text.unicodeScalars.index(text.startIndex, offsetBy: $0 + part.unicodeScalars.count) }
    }

    private func shown(_ address: String) -> String {
        guard let shownCount, address.unicodeScalars.count > shownCount else { return address }
        let kept = JinjaRun.places(of: address.unicodeScalars.count, nil, shownCount, step: 1).count
        return String(address.unicodeScalars.prefix(kept)) + "..."
    }

    private func link(_ word: String) -> String {
        if isWebAddress(word) {
            let hasScheme = word.hasPrefix("https://") || word.hasPrefix("http://")
            return "<a href=\"\(hasScheme ? "" : "https://")\(word)\"\(attributes)>\(shown(word))</a>"
        }
        if word.hasPrefix("mailto:"), isMailAddress(word.dropFirst(7)) {
            return "<a href=\"\(word)\">\(word.dropFirst(7))</a>"
        }
        if word.contains("@"), !word.hasPrefix("www."), !word.hasPrefix("@"), !word.contains(":"),
            isMailAddress(word[...])
        {
            return "<a href=\"mailto:\(word)\">\(word)</a>"
        }
        var word = word
        for scheme in schemes where word != scheme && word.hasPrefix(scheme) {
            word = "<a href=\"\(word)\"\(attributes)>\(word)</a>"
        }
        return word
    }

    /// `name@host.end`
    private func isMailAddress(_ word: Substring) -> Bool {
        guard let at = word.lastIndex(of: "@"), at > word.startIndex else { return false }
        let host = Array(word[word.index(after: at)...].unicodeScalars)
        guard let first = host.first, JinjaLetters.isWordPart(first), let dot = host.lastIndex(of: "."), dot > 0,
            dot + 1 < host.count
        else { return false }
        return host[(dot + 1)...].allSatisfy(JinjaLetters.isWordPart)
            && host[..<dot].allSatisfy { JinjaLetters.isWordPart($0) || $0 == "." || $0 == "-" }
    }

    private func isWebAddress(_ word: String) -> Bool {
        var rest = word.lowercased()[...]
        let scheme = ["https://", "http://", "www."].first(where: rest.hasPrefix)
        if let scheme { rest = rest.dropFirst(scheme.count) }
        var host = rest.prefix { !"/?#".contains($0) }
        if host.hasPrefix("["), scheme != nil, scheme != "www.", let end = host.lastIndex(of: "]") {
            return isIPv6(host[..<end].dropFirst()) && isPort(host[host.index(after: end)...])
        }
        if let colon = host.firstIndex(of: ":") {
            guard isPort(host[colon...]) else { return false }
            host = host[..<colon]
        }
        let labels = host.split(separator: ".", omittingEmptySubsequences: false)
        let isLabel = { (label: Substring) in
            !label.isEmpty && label.unicodeScalars.allSatisfy { JinjaLetters.isWordPart($0) || $0 == "%" || $0 == "-" }
        }
        guard let end = labels.last, labels.allSatisfy(isLabel) else { return false }
        if scheme != nil, scheme != "www.", labels.count == 4,
            labels.allSatisfy({ (1...3).contains($0.count) && $0.allSatisfy(\.isNumber) })
        {
            return true
        }
        if scheme == nil { return isBareDomain(labels) }
        let isPlainEnd = (2...63).contains(end.count) && end.allSatisfy { ("a"..."z").contains($0) }
        let isCodedEnd = end.hasPrefix("xn--") && (2...59).contains(end.count - 4) && !end.dropFirst(4).contains("-")
        return isPlainEnd || isCodedEnd || scheme == "www." && isBareDomain(["www"] + labels)
    }

    private func isBareDomain(_ labels: [Substring]) -> Bool {
        labels.count >= 2 && ["com", "net", "int", "edu", "gov", "org", "info", "mil"].contains(labels.last)
            && labels.dropLast().allSatisfy { (2...63).contains($0.count) }
    }

    private func isPort(_ text: Substring) -> Bool {
        text.isEmpty
            || text.hasPrefix(":") && (1...5).contains(text.count - 1) && text.dropFirst().allSatisfy(\.isNumber)
    }

    private func isIPv6(_ text: Substring) -> Bool {
        guard text.allSatisfy({ $0 == ":" || $0.isHexDigit }) else { return false }
        let groups = text.split(separator: ":", omittingEmptySubsequences: false)
        guard groups.count >= 3, groups[0].count <= 4, groups[1].count <= 4 else { return false }
        let rest = groups.dropFirst(2).reduce(0) { $0 + max(1, ($1.count + 3) / 4) }
        return rest <= 6 + (groups.last!.isEmpty ? 1 : 0)
    }
}
