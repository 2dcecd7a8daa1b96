<?php
// PHP's ext-soap. What is read and written here is told in README.md.

function carry_out(SoapClient $service, array $words): array
{
    switch ($words[0]) {
        case 'place':
            $answer = $service->PlayOnPhone(['entryId' => $words[1], 'DialString' => $words[2]]);
            return ['call' => $answer->PlayOnPhoneResponse];
        case 'state':
            $info = $service->GetCallInfo(['CallId' => $words[1]])->GetCallInfoResponse;
            return ['state' => $info->CallState, 'cause' => $info->EventCause];
        case 'end':
            $service->Disconnect(['CallId' => $words[1]]);
            return ['ended' => true];
    }
    throw new DomainException("no such command: $words[0]");
}

$service = new SoapClient($argv[1], ['cache_wsdl' => WSDL_CACHE_NONE]);
while (($line = fgets(STDIN)) !== false) {
    try {
        $answer = carry_out($service, explode("\t", rtrim($line, "\n")));
    } catch (SoapFault $fault) {
        $answer = ['fault' => [
            'type' => get_class($fault),
            'code' => $fault->faultcode,
            'text' => $fault->faultstring,
            'detail' => $fault->detail->ExceptionType ?? null,
        ]];
    }
    echo json_encode($answer), "\n";
}
