/// What the GGUF files of one architecture call the tensors of its Hugging Face checkpoints, and how they hold them: the
/// data behind `GGUFNames`, for architectures that have no graph here (`GGUFNamings` lists them).
struct GGUFNaming {
    /// Tensors outside the layers.
    let outer: [GGUFNameRow]
    /// Tensors of every layer that has them.
    let layers: [GGUFNameRow]
    /// What Hugging Face's names of the layers begin with, before the layer's number.
    var layerPrefix = ModulePart.layerPrefix
    /// Whether the models have an output head over the vocabulary.
    var hasLanguageHead = true
    /// See `GGUFNames.expertsModelType`.
    var expertsModelType: String?
}

/// How the rows of a tensor are found in a GGUF file, as a rule for all layers; `GGUFSizes` makes an order of it.
enum GGUFRowRule {
    /// As in the checkpoint.
    case same
    /// Queries, with the pairs of the rotary embedding side by side.
    case rotaryQueries
    /// Keys, likewise.
    case rotaryKeys
    /// Queries and keys as they are, or where the rotary embedding has sections with its pairs taken apart.
    case sectionedQueries
    case sectionedKeys
    /// The delta rule's queries and keys as they are, then its values, transposed from [key head][value head of it].
    case deltaChannels
    /// The delta rule's values alone.
    case deltaValues
    /// One number for each of the delta rule's value heads.
    case deltaHeads
}

/// A tensor or a module of `GGUFNaming`.
struct GGUFNameRow {
    /// Names in Hugging Face's files and in GGUF files: inside the layer, or whole.
    let name: String
    let gguf: String
    /// Whether these are names of a module, whose weight and bias they are the beginnings of; otherwise of a tensor.
    let isModule: Bool
    var rows = GGUFRowRule.same
    var columns = GGUFRowRule.same
    var values = GGUFValueForm.same

    /// A module that has a weight and may have a bias, called alike in both kinds of files. Row order and values are the
    /// weight's and the bias's; the order of columns is the weight's.
    static func module(
        _ path: String, _ gguf: String, rows: GGUFRowRule = .same, columns: GGUFRowRule = .same,
        values: GGUFValueForm = .same
    ) -> GGUFNameRow {
        GGUFNameRow(name: path, gguf: gguf, isModule: true, rows: rows, columns: columns, values: values)
    }

    /// A module by the names that decoders share.
    static func module(_ part: ModulePart, rows: GGUFRowRule = .same, values: GGUFValueForm = .same) -> GGUFNameRow {
        module(part.path, part.gguf, rows: rows, values: values)
    }

    /// One tensor by its full name.
    static func tensor(
        _ name: String, _ gguf: String, rows: GGUFRowRule = .same, values: GGUFValueForm = .same
    ) -> GGUFNameRow {
        GGUFNameRow(name: name, gguf: gguf, isModule: false, rows: rows, values: values)
    }

    /// The tensors of the row: Hugging Face's name and GGUF's of each, and whether it has columns that lie elsewhere.
    var tensors: [(name: String, gguf: String, columns: GGUFRowRule)] {
        guard isModule else { return [(name, gguf, columns)] }
        return [ModulePart.Kind.weight, .bias].map {
            ($0.name(of: name), $0.name(of: gguf), $0 == .weight ? columns : .same)
        }
    }
}
