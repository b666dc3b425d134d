/// How records become examples.
package struct LoadingOptions: Sendable, Equatable {
    /// Whether only what the model is to say is scored; false scores prompts too.
    package var promptMasking: Bool
    /// Whether the end-of-text token follows completions and texts (chat templates have end tokens of their own).
    package var endOfText: Bool
    /// The most tokens of an example: a longer text is cut into parts, anything else loses its beginning; nil for no
    /// bound, but for files of plain text, see `plainTextLength`.
    package var maxLength: Int?
    /// The model's positions: a longer sequence, after truncation, is an error; nil for no check.
    package var limit: Int?
    /// The rows of the model's embedding: a token beyond them is an error; nil for no check.
    package var vocabularySize: Int?
    /// Whether records with an `answer` also give choice items, and must have possible answers.
    package var collectsChoices: Bool

    /// The chat template that conversations are written in, as `Tokenizer.load` takes it; nil for the model's. Who loads
    /// the tokenizer heeds it.
    package var chatTemplate: String?

    /// The names of a table's columns, for labelled records, where its first line does not have them; nil where it does.
    package var columns: [String]?

    /// Tokens that end a text or a turn beside the tokenizer's own: what has one at its end gets no other.
    package var endTokens: Set<Int32> = []

    /// How pictures become tokens; nil for a model that reads text alone.
    package var images: ImageOptions?
    /// The folder that records' pictures are sought in; who knows the model makes `images` of it.
    package var imageFolder: String?

    /// Options with the program's defaults.
    ///
    /// - Precondition: `maxLength` and `limit` are positive where given.
    package init(
        promptMasking: Bool = true, endOfText: Bool = true, maxLength: Int? = nil, limit: Int? = nil,
        collectsChoices: Bool = false
    ) {
        precondition((maxLength ?? 1) > 0 && (limit ?? 1) > 0, "lengths are positive")
        self.promptMasking = promptMasking
        self.endOfText = endOfText
        self.maxLength = maxLength
        self.limit = limit
        self.collectsChoices = collectsChoices
    }

    /// The most tokens of a part of a plain text where nothing else is said: a file of text has no records.
    package static let plainTextLength = 1024

    /// The options for a file, by its kind.
    func fitting(_ path: String) -> LoadingOptions {
        guard maxLength == nil, RecordFile.isPlainText(path) else { return self }
        var options = self
        options.maxLength = min(Self.plainTextLength, limit ?? .max)
        return options
    }
}
