import CheckpointIO
import Tokenization

/// The records of files as token sequences, held in memory.
package struct Dataset: Sendable {
    /// The files, `-` for standard input.
    package let paths: [String]
    /// One example a record, and of a text that is longer than `maxLength` its parts, in the order of the files; never
    /// empty.
    package let examples: [Example]
    /// The place in `examples` behind each record's last.
    private let recordEnds: [Int]
    /// The questions of the records that have an `answer`, in the order of the files; empty unless they were asked for.
    package let choiceItems: [ChoiceItem]
    /// The place in `examples` of each choice item's record.
    private let choiceRecords: [Int]
    /// The places in `examples` of the records that were truncated to `maxLength`.
    private let truncatedRecords: [Int]
    /// What ends each conversation's last scored turn, by its place in `examples`.
    private let turnEnds: [(record: Int, end: TurnEnd)]
    /// Where each labelled record stands; empty for others.
    package private(set) var places: [RecordPlace] = []

    /// How many records there are.
    package var recordCount: Int { recordEnds.count }
    /// How many texts were cut into parts because they are longer than `maxLength`, and the parts.
    package var cutTexts: (texts: Int, parts: Int) {
        let starts = [0] + recordEnds.dropLast()
        let lengths = zip(starts, recordEnds).map { $1 - $0 }.filter { $0 > 1 }
        return (lengths.count, lengths.reduce(0, +))
    }
    /// How many records were truncated to `maxLength`.
    package var truncatedCount: Int { truncatedRecords.count }
    /// How many of the records are conversations.
    package var conversationCount: Int { turnEnds.count }
    /// How many of these score no end behind the last of the assistant's turns, and so do not teach a model to stop.
    package var endlessCount: Int { turnEnds.count { $0.end == .none } }
    /// A mark that ends an answer and is none of the model's end tokens; nil where there is none.
    package var foreignEnd: String? {
        turnEnds.lazy.compactMap { if case .other(let mark) = $0.end { mark } else { nil } }.first
    }
    /// How many tokens the examples have.
    package var tokenCount: Int { examples.reduce(0) { $0 + $1.tokens.count } }
    /// How many of the tokens are scored.
    package var scoredCount: Int { examples.reduce(0) { $0 + $1.scoredCount } }
    /// The length of the longest example in tokens.
    package var longestCount: Int { examples.reduce(0) { max($0, $1.tokens.count) } }

    /// Reads a file of records; see the variant over several.
    package static func load(
        path: String, tokenizer: Tokenizer, options: LoadingOptions = LoadingOptions()
    ) throws(DataError) -> Dataset {
        try load(paths: [path], tokenizer: tokenizer, options: options)
    }

    /// Reads files of records, one after the other: a JSON array or JSON lines each, also compressed by Zstandard or
    /// gzip; see `TrainingRecord` for their forms. A file whose name ends in `.txt` (before `.zst` or `.gz`) is one text.
    /// A file may be a pipe; `-` is standard input.
    ///
    /// - Precondition: there is a path.
    /// - Throws: the first thing that is wrong, with file, line and field; nothing is skipped.
    package static func load(
        paths: [String], tokenizer: Tokenizer, options: LoadingOptions = LoadingOptions()
    ) throws(DataError) -> Dataset {
        precondition(!paths.isEmpty, "a data set has a file")
        if paths.count(where: { $0 == RecordFile.standardInput }) > 1 {
            throw .twice(file: RecordFile.displayName(RecordFile.standardInput))
        }
        let encoder = SequenceEncoder(tokenizer: tokenizer)
        var examples: [Example] = []
        var recordEnds: [Int] = []
        var choiceItems: [ChoiceItem] = []
        var choiceRecords: [Int] = []
        var truncatedRecords: [Int] = []
        var turnEnds: [(record: Int, end: TurnEnd)] = []
        for path in paths {
            let builder = try ExampleBuilder(
                encoder: encoder, options: options.fitting(path), file: RecordFile.displayName(path))
            try RecordFile.forEachRecord(of: path) { (value, place) throws(DataError) in
                let result = try builder.build(TrainingRecord(value, at: place, readsImages: options.images != nil))
                if let item = result.choiceItem {
                    choiceItems.append(item)
                    choiceRecords.append(examples.count)
                }
                if result.isTruncated { truncatedRecords.append(examples.count) }
                if let end = result.turnEnd { turnEnds.append((examples.count, end)) }
                examples += result.examples
                recordEnds.append(examples.count)
            }
        }
        return Dataset(
            paths: paths, examples: examples, recordEnds: recordEnds, choiceItems: choiceItems,
            choiceRecords: choiceRecords, truncatedRecords: truncatedRecords, turnEnds: turnEnds)
    }

    private init(
        paths: [String], examples: [Example], recordEnds: [Int], choiceItems: [ChoiceItem], choiceRecords: [Int],
        truncatedRecords: [Int], turnEnds: [(record: Int, end: TurnEnd)]
    ) {
        self.paths = paths
        self.examples = examples
        self.recordEnds = recordEnds
        self.choiceItems = choiceItems
        self.choiceRecords = choiceRecords
        self.truncatedRecords = truncatedRecords
        self.turnEnds = turnEnds
    }

    /// Sequences that are scored as wholes, one a record; `truncated` are the places of those that were cut.
    init(paths: [String], sequences: [Example], places: [RecordPlace], truncated: [Int]) {
        self.init(
            paths: paths, examples: sequences, recordEnds: Array(1...sequences.count), choiceItems: [],
            choiceRecords: [], truncatedRecords: truncated, turnEnds: [])
        self.places = places
    }

    /// The first `count` records alone, at least one; all where there are no more.
    package func prefix(_ count: Int) -> Dataset {
        precondition(count >= 1, "a data set has a record")
        let ends = recordEnds.prefix(count)
        let end = ends.last ?? 0
        let kept = choiceRecords.prefix { $0 < end }
        var first = Dataset(
            paths: paths, examples: Array(examples.prefix(end)), recordEnds: Array(ends),
            choiceItems: Array(choiceItems.prefix(kept.count)), choiceRecords: Array(kept),
            truncatedRecords: Array(truncatedRecords.prefix { $0 < end }),
            turnEnds: Array(turnEnds.prefix { $0.record < end }))
        first.places = Array(places.prefix(count))
        return first
    }

    /// What files of records are called where they are told of: their names without folders, several joined by `+`.
    package static func name(of paths: [String]) -> String {
        paths.map { $0 == RecordFile.standardInput ? RecordFile.displayName($0) : lastPathComponent($0) }
            .joined(separator: " + ")
    }
}
