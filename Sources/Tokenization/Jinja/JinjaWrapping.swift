/// Lines of a width, as Python's `textwrap` makes them of a paragraph: words stay whole where they can, and may be parted
/// at hyphens.
struct JinjaWrapping {
    var width: Int
    var breaksWords: Bool
    var breaksAtHyphens: Bool

    /// The lines, without the white space at which they were parted.
    func lines(of paragraph: JinjaText) throws(JinjaError) -> [JinjaText] {
        guard width > 0 else { throw .failed("'wordwrap' gets a width of \(width)") }
        // From the last to the first.
        var chunks: [Range<Int>] = (breaksAtHyphens ? chunks(of: paragraph) : plainChunks(of: paragraph)).reversed()
        var lines: [JinjaText] = []
        while let first = chunks.last {
            if isBlank(first, in: paragraph), !lines.isEmpty { chunks.removeLast() }
            // What the line has: its chunks, which lie side by side.
            var line: [Range<Int>] = []
            var length = 0
            while let next = chunks.last, length + next.count <= width {
                line.append(next)
                length += next.count
                chunks.removeLast()
            }
            if let next = chunks.last, next.count > width { takeLongWord(&chunks, &line, length, paragraph) }
            if let last = line.last, isBlank(last, in: paragraph) { line.removeLast() }
            if let first = line.first, let last = line.last {
                lines.append(paragraph[first.lowerBound..<last.upperBound])
            }
        }
        return lines
    }

    private func isBlank(_ chunk: Range<Int>, in paragraph: JinjaText) -> Bool {
        paragraph.scalars[chunk].allSatisfy(JinjaText.isSpace)
    }

    /// Puts what fits of a word that is longer than a line on the line.
    private func takeLongWord(
        _ chunks: inout [Range<Int>], _ line: inout [Range<Int>], _ length: Int, _ paragraph: JinjaText
    ) {
        guard breaksWords else {
            if line.isEmpty { line.append(chunks.removeLast()) }
            return
        }
        let chunk = chunks.removeLast()
        var end = chunk.lowerBound + width - length
        if breaksAtHyphens, let hyphen = paragraph.lastPlace(of: ["-"], from: chunk.lowerBound, to: end),
            paragraph.scalars[chunk.lowerBound..<hyphen].contains(where: { $0 != "-" })
        {
            end = hyphen + 1
        }
        line.append(chunk.lowerBound..<end)
        chunks.append(end..<chunk.upperBound)
    }

    // MARK: Where a paragraph may be parted

    private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        "\t\n\u{B}\u{C}\r ".unicodeScalars.contains(scalar)
    }

    private func plainChunks(of text: JinjaText) -> [Range<Int>] {
        var chunks: [Range<Int>] = []
        var start = 0
        for index in 0..<text.count {
            let isEnd =
                index + 1 == text.count
                || Self.isSpace(text.scalars[index]) != Self.isSpace(text.scalars[index + 1])
            guard isEnd else { continue }
            chunks.append(start..<index + 1)
            start = index + 1
        }
        return chunks
    }

    private func chunks(of text: JinjaText) -> [Range<Int>] {
        let reader = ChunkReader(scalars: text.scalars)
        var chunks: [Range<Int>] = []
        var start = 0
        while start < text.count {
            let end = reader.end(from: start)
            chunks.append(start..<end)
            start = end
        }
        return chunks
    }

    /// Finds stretches that stay whole: white space, dashes between words, parts of words with hyphens.
    private struct ChunkReader {
        let scalars: [Unicode.Scalar]

        private func isLetter(_ place: Int) -> Bool {
            scalars.indices.contains(place) && JinjaLetters.isWordPart(scalars[place]) && scalars[place] != "_"
                && scalars[place].properties.numericType != .decimal || isUnderscore(place)
        }

        private func isUnderscore(_ place: Int) -> Bool { scalars.indices.contains(place) && scalars[place] == "_" }
        private func isHyphen(_ place: Int) -> Bool { scalars.indices.contains(place) && scalars[place] == "-" }

        private func isWordPart(_ place: Int) -> Bool {
            scalars.indices.contains(place) && JinjaLetters.isWordPart(scalars[place])
        }

        private func isWordOrPunctuation(_ place: Int) -> Bool {
            isWordPart(place) || scalars.indices.contains(place) && "!\"'&.,?".unicodeScalars.contains(scalars[place])
        }

        /// The end of a dash of two hyphens or more that stands at `place` before a word; nil without one.
        private func dashEnd(_ place: Int) -> Int? {
            var end = place
            while isHyphen(end) { end += 1 }
            return end - place >= 2 && isWordPart(end) ? end : nil
        }

        /// Whether a word with hyphens may be parted behind the hyphen at `place`.
        private func mayPart(behind place: Int) -> Bool {
            guard isHyphen(place) else { return false }
            let isWordBefore = isLetter(place - 1) && isLetter(place - 2)
            let isShortBefore = isWordOrPunctuation(place - 1) && isHyphen(place - 2) && isLetter(place - 3)
            guard isWordBefore || isShortBefore, isLetter(place + 1) else { return false }
            return isLetter(place + 2) || isHyphen(place + 2) && isLetter(place + 3)
        }

        func end(from start: Int) -> Int {
            var end = start
            while end < scalars.count, JinjaWrapping.isSpace(scalars[end]) { end += 1 }
            if end > start { return end }
            if isWordOrPunctuation(start - 1), let end = dashEnd(start) { return end }
            end = start + 1
            while true {
                if mayPart(behind: end) { return end + 1 }
                if end >= scalars.count || JinjaWrapping.isSpace(scalars[end]) { return end }
                if isWordOrPunctuation(end - 1), dashEnd(end) != nil { return end }
                end += 1
            }
        }
    }
}
