import Data

/// How records become examples.
extension TrainRequest {
    /// Whether only what the model is to say is scored; it is unless given. False scores prompts too.
    public var promptMasking: Bool {
        get { loading.promptMasking }
        set { loading.promptMasking = newValue }
    }

    /// Whether the end-of-text token follows completions and texts; it does unless given.
    public var endOfText: Bool {
        get { loading.endOfText }
        set { loading.endOfText = newValue }
    }

    /// The most tokens of an example, at least 2; longer ones lose the beginning of their prompt. Nil for no limit.
    public var maxLength: Int? {
        get { loading.maxLength }
        set { loading.maxLength = newValue }
    }

    /// The chat template that conversations are written in, by its name in the model, or else a file; nil for the
    /// model's.
    public var chatTemplate: String? {
        get { loading.chatTemplate }
        set { loading.chatTemplate = newValue }
    }

    /// The folder in which records' pictures are sought; nil for that of their file.
    public var imageFolder: String? {
        get { loading.imageFolder }
        set { loading.imageFolder = newValue }
    }

    /// The names of a table's columns, for labelled records, where its first line does not have them; nil where it does.
    public var columns: [String]? {
        get { loading.columns }
        set { loading.columns = newValue }
    }
}

/// How records become examples.
extension EvaluateRequest {
    /// Whether only what the model is to say is scored; it is unless given. False scores prompts too.
    public var promptMasking: Bool {
        get { loading.promptMasking }
        set { loading.promptMasking = newValue }
    }

    /// Whether the end-of-text token follows completions and texts; it does unless given.
    public var endOfText: Bool {
        get { loading.endOfText }
        set { loading.endOfText = newValue }
    }

    /// The most tokens of an example, at least 2; longer ones lose the beginning of their prompt. Nil for no limit.
    public var maxLength: Int? {
        get { loading.maxLength }
        set { loading.maxLength = newValue }
    }

    /// The chat template that conversations are written in, by its name in the model, or else a file; nil for the
    /// model's.
    public var chatTemplate: String? {
        get { loading.chatTemplate }
        set { loading.chatTemplate = newValue }
    }

    /// The folder in which records' pictures are sought; nil for that of their file.
    public var imageFolder: String? {
        get { loading.imageFolder }
        set { loading.imageFolder = newValue }
    }

    /// The names of a table's columns, for labelled records, where its first line does not have them; nil where it does.
    public var columns: [String]? {
        get { loading.columns }
        set { loading.columns = newValue }
    }
}
