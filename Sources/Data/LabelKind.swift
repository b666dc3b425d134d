import Tokenization

/// What is asked of a whole sequence.
package enum LabelKind: Sendable, Equatable {
    /// One of some classes.
    case classes(LabelSet)
    /// A number.
    case numbers

    /// How many numbers a model gives for a sequence.
    package var outputCount: Int {
        switch self {
        case .classes(let labels): labels.names.count
        case .numbers: 1
        }
    }

    /// What is expected of a record; nil where it has no label and none is needed.
    ///
    /// - Throws: `noLabel`, `unknownLabel`, `labelNoNumber`.
    func label(of record: LabelledRecord, isNeeded: Bool) throws(DataError) -> SequenceLabel? {
        if record.label == nil, !isNeeded { return nil }
        switch self {
        case .classes(let labels): return .index(try labels.index(of: record))
        case .numbers: return .value(try record.number())
        }
    }
}

extension Dataset {
    /// Reads files of labelled records, one after the other; see `LabelledFile`. Each is one sequence, with the tokens
    /// that the tokenizer puts around one text or two; of `options` the lengths, the size of the vocabulary and the
    /// columns' names count.
    ///
    /// - Parameter needsLabels: whether a record without a label is refused.
    ///
    /// A record longer than `options.maxLength` is cut at the end that the tokenizer's configuration names, the longer
    /// text of two first.
    ///
    /// - Throws: the first thing that is wrong, with file, line and remedy; nothing is skipped.
    package static func load(
        paths: [String], tokenizer: Tokenizer, labelled kind: LabelKind, needsLabels: Bool = true,
        options: LoadingOptions = LoadingOptions()
    ) throws(DataError) -> Dataset {
        let records = try LabelledFile.records(of: paths, columns: options.columns)
        var examples: [Example] = []
        examples.reserveCapacity(records.count)
        var truncated: [Int] = []
        for record in records {
            let framed = try framed(record, tokenizer, options)
            if framed.isCut { truncated.append(examples.count) }
            examples.append(
                Example(
                    tokens: framed.tokens, types: framed.types.contains { $0 != 0 } ? framed.types : nil,
                    label: try kind.label(of: record, isNeeded: needsLabels)))
        }
        return Dataset(paths: paths, sequences: examples, places: records.map(\.place), truncated: truncated)
    }

    private static func framed(
        _ record: LabelledRecord, _ tokenizer: Tokenizer, _ options: LoadingOptions
    ) throws(DataError) -> FramedTokens {
        let added = tokenizer.addedTokenCount(isPair: record.second != nil)
        if let longest = options.maxLength, longest <= added {
            throw .noRoom(record.place, maxLength: longest, added: added)
        }
        let framed = tokenizer.encode(
            record.first, and: record.second, longest: options.maxLength, cutting: tokenizer.cutEnd)
        guard !framed.tokens.isEmpty else { throw .noTokens(record.place) }
        if let limit = options.limit, framed.tokens.count > limit {
            throw .sequenceTooLong(record.place, length: framed.tokens.count, limit: limit)
        }
        if let rows = options.vocabularySize, let problem = tokenizer.strangeToken(in: framed.tokens, rows: rows) {
            throw .tokenBeyondVocabulary(record.place, problem: problem)
        }
        return framed
    }
}
