import Models
import TensorCore

/// A task that needs a head which no language model has: classes of texts or of tokens, spans that answer a question.
package struct AdapterTask: Sendable, Equatable {
    /// peft's `task_type`; nil where the adapter names none and its head tells.
    package let type: String?
    /// The layers of `modules_to_save` that are the head; none where the adapter does not hold it.
    package let heads: [String]
    /// Rows of the head's weight, which are the labels; nil where that is not known.
    package let labelCount: Int?

    /// What the task is called.
    package var words: String {
        switch type {
        case "SEQ_CLS"?: "the classification of sequences"
        case "TOKEN_CLS"?: "the classification of tokens"
        case "QUESTION_ANS"?: "the answering of questions by spans"
        default: heads.contains(Self.spanHead) ? "the answering of questions by spans" : "classification"
        }
    }

    /// transformers' class that opens a model with such a head; nil where the head alone does not tell.
    package var autoClass: String? {
        switch type {
        case "SEQ_CLS"?: "AutoModelForSequenceClassification"
        case "TOKEN_CLS"?: "AutoModelForTokenClassification"
        case "QUESTION_ANS"?: "AutoModelForQuestionAnswering"
        default: nil
        }
    }

    /// By what an adapter says that it is one of these, such as "task_type SEQ_CLS, head score".
    package var evidence: String {
        let head = heads.isEmpty ? nil : "head \(heads.joined(separator: ", "))"
        return [type.map { "task_type \($0)" }, head].compactMap { $0 }.joined(separator: ", ")
    }

    /// What the names of transformers' classes for such tasks end in.
    package static let classEndings = ["ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"]

    private static let types = ["SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS"]
    private static let spanHead = "qa_outputs"
    /// What models call such heads; `score` and `classifier` are peft's list for classes, whichever the model has.
    private static let headNames = AdapterConfiguration.classifiers + [spanHead]

    /// The task that an adapter with this configuration and these layers, saved whole, was trained for; nil for one of a
    /// language model.
    init?(_ configuration: AdapterConfiguration, saved: [AdapterTensor]) {
        type = configuration.taskType.flatMap { name in Self.types.first { $0.hasSameBytes(as: name) } }
        let named = configuration.modulesToSave.filter { name in
            Self.headNames.contains { TargetMatch.name($0, matches: name) }
        }
        guard type != nil || !named.isEmpty else { return nil }
        let held = named.filter { name in
            saved.isEmpty || saved.contains { AdapterConfiguration.isTensor($0.name, ofWhole: name) }
        }
        heads = held
        labelCount =
            saved.last { tensor in
                tensor.shape.count == 2 && held.contains { AdapterConfiguration.isTensor(tensor.name, ofWhole: $0) }
            }?.shape.first
    }
}

extension AdapterDirectory {
    /// What it was trained for, where that is no language modelling.
    package var task: AdapterTask? { AdapterTask(configuration, saved: savedModules + extras.values.map(\.tensor)) }

    /// Throws `.otherTask` for an adapter that is of no use to a language model's forward pass.
    package func checkIsOfLanguageModel() throws(AdapterError) {
        if let task { throw .otherTask(adapter: displayName, task: task) }
    }
}
