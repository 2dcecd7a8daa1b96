// gSOAP, with what wsdl2h and soapcpp2 make of the WSDL. What is read and written here is told in
// README.md.

#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "UnifiedMessagingBinding.nsmap"
#include "soapUnifiedMessagingBindingProxy.h"

static std::string quoted(const char *text) {
    if (text == nullptr) return "null";
    std::string json = "\"";
    for (; *text != '\0'; ++text) {
        if (*text == '"' || *text == '\\') json += '\\';
        json += *text;
    }
    return json + "\"";
}

static std::string quoted(const std::string &text) { return quoted(text.c_str()); }

static std::string told_of(UnifiedMessagingBindingProxy &service) {
    if (service.soap->error != SOAP_FAULT) {
        service.soap_stream_fault(std::cerr);
        std::exit(1);
    }
    return "{\"fault\": {\"type\": \"SOAP_ENV__Fault\", \"code\": " + quoted(service.soap_fault_subcode()) +
           ", \"text\": " + quoted(service.soap_fault_string()) +
           ", \"detail\": " + quoted(service.soap_fault_detail()) + "}}";
}

static std::string carry_out(UnifiedMessagingBindingProxy &service,
                             const std::vector<std::string> &words) {
    if (words[0] == "place") {
        _um__PlayOnPhone request;
        _um__PlayOnPhoneResponse answer;
        request.entryId = words.at(1);
        request.DialString = words.at(2);
        if (service.PlayOnPhone(&request, answer) != SOAP_OK) return told_of(service);
        return "{\"call\": " + quoted(answer.PlayOnPhoneResponse) + "}";
    }
    if (words[0] == "state") {
        _um__GetCallInfo request;
        _um__GetCallInfoResponse answer;
        request.CallId = words.at(1);
        if (service.GetCallInfo(&request, answer) != SOAP_OK) return told_of(service);
        const um__UMCallInfo *info = answer.GetCallInfoResponse;
        return "{\"state\": " + quoted(soap_um__UMCallState2s(service.soap, info->CallState)) +
               ", \"cause\": " + quoted(soap_um__UMEventCause2s(service.soap, info->EventCause)) + "}";
    }
    if (words[0] == "end") {
        _um__Disconnect request;
        _um__DisconnectResponse answer;
        // The one field that the WSDL lets be absent.
        std::string call = words.at(1);
        request.CallId = &call;
        if (service.Disconnect(&request, answer) != SOAP_OK) return told_of(service);
        return "{\"ended\": true}";
    }
    std::cerr << "no such command: " << words[0] << "\n";
    std::exit(1);
}

int main() {
    UnifiedMessagingBindingProxy service;
    for (std::string line; std::getline(std::cin, line);) {
        std::vector<std::string> words;
        std::istringstream input(line);
        for (std::string word; std::getline(input, word, '\t');) words.push_back(word);
        std::cout << carry_out(service, words) << std::endl;
        service.destroy();
    }
}
