/// The Alpaca prompt as LLM-Adapters trains and scores with it (AGI-Edgerunners/LLM-Adapters, `finetune.py`,
/// `generate_prompt`), without the indentation that its source code leaves in the text by accident.
package enum AlpacaTemplate {
    private static let opening = "Below is an instruction that describes a task"
    private static let closing = "Write a response that appropriately completes the request."

    /// The prompt of one instruction; an empty `input` counts as none.
    ///
    /// A `system` text that is not empty stands in place of the first paragraph.
    package static func prompt(instruction: String, input: String = "", system: String = "") -> String {
        let context = input.isEmpty ? "" : ", paired with an input that provides further context"
        let paragraph = system.isEmpty ? "\(opening)\(context). \(closing)" : system
        return paragraph + "\n\n" + turn(instruction: instruction, input: input)
    }

    /// The prompt of a later turn, without the first paragraph.
    static func turn(instruction: String, input: String) -> String {
        let inputPart = input.isEmpty ? "" : "### Input:\n\(input)\n\n"
        return "### Instruction:\n\(instruction)\n\n\(inputPart)### Response:\n"
    }
}
