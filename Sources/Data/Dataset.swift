import Tokenization

/// The records of a file as token sequences, held in memory.
package struct Dataset: Sendable {
    /// The file.
    package let path: String
    /// One example a record, in the order of the file; never empty.
    package let examples: [Example]
    /// The questions of the records that have an `answer`, in the order of the file; empty unless they were asked for.
    package let choiceItems: [ChoiceItem]
    /// The place in `examples` of each choice item's record.
    private let choiceRecords: [Int]
    /// The places in `examples` of the records that were truncated to `maxLength`.
    private let truncatedRecords: [Int]

    /// How many records were truncated to `maxLength`.
    package var truncatedCount: Int { truncatedRecords.count }
    /// How many tokens the examples have.
    package var tokenCount: Int { examples.reduce(0) { $0 + $1.tokens.count } }
    /// How many of the tokens are scored.
    package var scoredCount: Int { examples.reduce(0) { $0 + $1.scoredCount } }
    /// The length of the longest example in tokens.
    package var longestCount: Int { examples.reduce(0) { max($0, $1.tokens.count) } }

    /// Reads a file of records: a JSON array or JSON lines, either also as `.zst`; see `TrainingRecord` for their
    /// forms.
    ///
    /// - Throws: the first thing that is wrong, with file, line and field; nothing is skipped.
    package static func load(
        path: String, tokenizer: Tokenizer, options: LoadingOptions = LoadingOptions()
    ) throws(DataError) -> Dataset {
        let encoder = SequenceEncoder(tokenizer: tokenizer)
        let builder = try ExampleBuilder(encoder: encoder, options: options, file: path)
        var examples: [Example] = []
        var choiceItems: [ChoiceItem] = []
        var choiceRecords: [Int] = []
        var truncatedRecords: [Int] = []
        try RecordFile.forEachRecord(of: path) { (value, place) throws(DataError) in
            let result = try builder.build(TrainingRecord(value, at: place))
            if let item = result.choiceItem {
                choiceItems.append(item)
                choiceRecords.append(examples.count)
            }
            if result.isTruncated { truncatedRecords.append(examples.count) }
            examples.append(result.example)
        }
        return Dataset(
            path: path, examples: examples, choiceItems: choiceItems, choiceRecords: choiceRecords,
            truncatedRecords: truncatedRecords)
    }

    /// The first `count` records alone, at least one; all where there are no more.
    package func prefix(_ count: Int) -> Dataset {
        precondition(count >= 1, "a data set has a record")
        let kept = choiceRecords.prefix { $0 < count }
        return Dataset(
            path: path, examples: Array(examples.prefix(count)), choiceItems: Array(choiceItems.prefix(kept.count)),
            choiceRecords: Array(kept), truncatedRecords: Array(truncatedRecords.prefix { $0 < count }))
    }
}
